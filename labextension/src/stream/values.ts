import type { Snapshot } from '../protocol';
import type { IProgress } from './snapshot';

/** A longer value is cut. */
const VALUE_CHARACTERS = 2000;

/** How a value is shown after `text`: as a line of its own, or not at all where it is nothing but progress. */
export function lineOf(value: unknown, text: string): string {
  if (isOnlyProgress(value)) {
    return '';
  }
  const whole = JSON.stringify(value);
  return line(whole.length > VALUE_CHARACTERS ? `${whole.slice(0, VALUE_CHARACTERS)}…` : whole, text);
}

/** The text that stands for the beginning of a stream of which some is no longer kept. */
export function beginningOf({ text, values }: Snapshot): string {
  return values ? text + line(`[${values} values are no longer kept]`, text) : text;
}

/** What a value says of the run's progress: `{"progress": 0 to 1, "message": "..."}`, with anything else beside. */
export function progressOf(value: unknown): IProgress | null {
  const { progress, message } = fields(value);
  if (typeof progress !== 'number' || !(progress >= 0 && progress <= 1)) {
    return null;
  }
  return { value: progress, message: typeof message === 'string' ? message : '' };
}

function isOnlyProgress(value: unknown): boolean {
  return (
    progressOf(value) !== null && Object.keys(fields(value)).every(name => name === 'progress' || name === 'message')
  );
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {};
}

function line(words: string, before: string): string {
  return `${before === '' || before.endsWith('\n') ? '' : '\n'}${words}\n`;
}
