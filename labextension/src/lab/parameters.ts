import type { TranslationBundle } from '@jupyterlab/translation';

import { element } from '../view';
import type { Question } from './code';
import { Field, lines, text } from './field';

type Name = 'max_tokens' | 'temperature' | 'top_p' | 'top_k' | 'seed' | 'logprobs';

/** What a number may be, as `protocol.Generate` has it. */
interface IBounds {
  name: Name;
  minimum: number;
  maximum: number;
  whole: boolean;
  /** Whether the minimum itself is too little. */
  open?: boolean;
  /** What it is where nothing is said. */
  usual: string;
}

const STOPS = 16;
const STOP_CHARACTERS = 256;
const NUMBERS: readonly IBounds[] = [
  { name: 'max_tokens', minimum: 1, maximum: 1_000_000, whole: true, usual: '128' },
  { name: 'temperature', minimum: 0, maximum: 100, whole: false, usual: '1' },
  { name: 'top_p', minimum: 0, maximum: 1, whole: false, open: true, usual: '1' },
  { name: 'top_k', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, whole: true, usual: '0' },
  // The protocol takes larger seeds; this is what a number of the page can hold.
  { name: 'seed', minimum: 0, maximum: Number.MAX_SAFE_INTEGER, whole: true, usual: '' },
  { name: 'logprobs', minimum: 0, maximum: 20, whole: true, usual: '' }
];

/** The fields for how to generate; one that is left empty is not said, so that it is the server's own. */
export class Parameters {
  readonly node = element('fieldset', 'jp-StreaminferParameters');

  constructor(private readonly _trans: TranslationBundle) {
    const labels: Record<Name, string> = {
      max_tokens: _trans.__('Max tokens'),
      temperature: _trans.__('Temperature'),
      top_p: _trans.__('Top-p'),
      top_k: _trans.__('Top-k'),
      seed: _trans.__('Seed'),
      logprobs: _trans.__('Logprobs')
    };
    const grid = element('div', 'jp-StreaminferParameters-grid');
    for (const bounds of NUMBERS) {
      const input = text('', bounds.usual || _trans.__('none'));
      input.name = bounds.name;
      input.inputMode = bounds.whole ? 'numeric' : 'decimal';
      const field = new Field(labels[bounds.name], input);
      this._numbers.set(bounds, field);
      grid.append(field.node);
    }
    this._stop.input.name = 'stop';
    this._stop.node.classList.add('jp-mod-wide');
    grid.append(this._stop.node);
    this.node.append(element('legend', '', _trans.__('Parameters')), grid);
  }

  /** What is said; null where something is wrong, which its field says. The first such field gets the focus. */
  read(): Partial<Question> | null {
    const read: Partial<Question> = {};
    let wrong: HTMLElement | null = null;
    for (const [bounds, field] of this._numbers) {
      const words = field.input.value.trim();
      const value = Number(words);
      const fault = words === '' ? '' : this._faultOf(value, bounds);
      field.fault(fault);
      if (fault) {
        wrong ??= field.input;
      } else if (words !== '') {
        read[bounds.name] = value;
      }
    }
    const stops = stopsOf(this._stop.input.value);
    const fault =
      stops.length > STOPS || stops.some(each => each.length > STOP_CHARACTERS)
        ? this._trans.__('At most %1 texts of at most %2 characters.', STOPS, STOP_CHARACTERS)
        : '';
    this._stop.fault(fault);
    if (fault) {
      wrong ??= this._stop.input;
    } else if (stops.length) {
      read.stop = stops;
    }
    wrong?.focus();
    return wrong ? null : read;
  }

  /** Fill the fields with what was said before. */
  write(question: Partial<Question>): void {
    for (const [{ name }, field] of this._numbers) {
      field.input.value = `${question[name] ?? ''}`;
      field.fault('');
    }
    this._stop.input.value = (question.stop ?? [])
      .map(each => each.replace(/\\/g, '\\\\').replace(/\n/g, '\\n'))
      .join('\n');
    this._stop.fault('');
  }

  private _faultOf(value: number, { minimum, maximum, whole, open }: IBounds): string {
    const trans = this._trans;
    if (whole && !Number.isInteger(value)) {
      return trans.__('A whole number is needed.');
    }
    if (Number.isFinite(value) && value <= maximum && (open ? value > minimum : value >= minimum)) {
      return '';
    }
    if (maximum === Number.MAX_SAFE_INTEGER) {
      return trans.__('A number from %1 is needed.', minimum);
    }
    return open
      ? trans.__('A number above %1, up to %2, is needed.', minimum, maximum)
      : trans.__('A number from %1 to %2 is needed.', minimum, maximum);
  }

  private readonly _numbers = new Map<IBounds, Field<HTMLInputElement>>();
  private readonly _stop = new Field(
    this._trans.__('Stop before'),
    lines(2),
    this._trans.__('One text a line; \\n in it is a line break.')
  );
}

/** The texts of the lines, with their escapes read. */
function stopsOf(words: string): string[] {
  return words
    .split('\n')
    .filter(Boolean)
    .map(line => line.replace(/\\([\\n])/g, (_, each) => (each === 'n' ? '\n' : '\\')));
}
