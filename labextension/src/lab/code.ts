import type { ChatMessage, Generate } from '../protocol';

/** What a run asks of each of its models. */
export type Question = Omit<Generate, 'type' | 'id' | 'model'>;

/** What is not seen, or changes the order of what is seen: written as an escape, so that code is what it looks like. */
const UNSEEN =
  // Each is meant alone: no two of them are one character here.
  // eslint-disable-next-line no-misleading-character-class
  /[\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]/g;
const WHOLE = /[\ud800-\udbff][\udc00-\udfff]/g;
const LINE = 100;

/** A Python literal that is this text, whatever it holds. */
export function pythonString(text: string): string {
  // JSON's escapes mean the same in Python; characters beyond the first plane are kept, halves of them are not.
  const escape = (part: string) =>
    part.replace(UNSEEN, each => `\\u${each.charCodeAt(0).toString(16).padStart(4, '0')}`);
  const quoted = JSON.stringify(text);
  let literal = '';
  let from = 0;
  for (const pair of quoted.matchAll(WHOLE)) {
    literal += escape(quoted.slice(from, pair.index)) + pair[0];
    from = pair.index + pair[0].length;
  }
  return literal + escape(quoted.slice(from));
}

/** A cell that asks the same of the same models; what was not said is left out. */
export function codeOf(models: readonly string[], question: Question): string {
  const { prompt, messages, ...options } = question;
  const named = Object.entries(options).map(([name, value]) => `${name}=${pythonValue(value)}`);
  const asked = messages ? `messages=${pythonValue(messages.map(ordered))}` : pythonString(prompt ?? '');
  const one = models.length === 1;
  const call = written(
    'client.generate',
    [one ? pythonString(models[0] ?? '') : 'model', asked, ...named],
    one ? '' : '    '
  );
  const shown = one
    ? `stream = ${call}\nstream`
    : `streams = [\n    ${call}\n    for model in ${pythonValue(models)}\n]\nfor stream in streams:\n    display(stream)`;
  return `import jupyter_streaminfer as si\n\nclient = si.connect()\n${shown}`;
}

/** A call, on a line if it is short. */
function written(name: string, parts: readonly string[], indent: string): string {
  const line = `${name}(${parts.join(', ')})`;
  const inner = parts.map(part => `${indent}    ${part},\n`).join('');
  return line.length <= LINE ? line : `${name}(\n${inner}${indent})`;
}

function ordered({ role, content }: ChatMessage): Record<string, unknown> {
  return { role, content };
}

function pythonValue(value: unknown): string {
  if (typeof value === 'string') {
    return pythonString(value);
  }
  if (typeof value === 'boolean') {
    return value ? 'True' : 'False';
  }
  if (Array.isArray(value)) {
    return `[${value.map(pythonValue).join(', ')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const pairs = Object.entries(value).map(([key, each]) => `${pythonString(key)}: ${pythonValue(each)}`);
    return `{${pairs.join(', ')}}`;
  }
  return String(value);
}
