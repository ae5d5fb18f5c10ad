import { element } from '../view';

type Input = HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement;

let made = 0;

/** An input with its label, a hint and a place for what is wrong with it; a screen reader is told all of them. */
export class Field<T extends Input = Input> {
  readonly node: HTMLElement;

  constructor(
    label: string,
    readonly input: T,
    hint = ''
  ) {
    const id = `jp-StreaminferField-${(made += 1)}`;
    const checkbox = input instanceof HTMLInputElement && input.type === 'checkbox';
    this.node = element('div', `jp-StreaminferField${checkbox ? ' jp-mod-checkbox' : ''}`);
    const caption = element('label', 'jp-StreaminferField-label', label);
    caption.htmlFor = input.id = id;
    this._error = element('div', 'jp-StreaminferField-error');
    this._error.id = `${id}-error`;
    this._error.setAttribute('role', 'alert');
    this._error.hidden = true;
    const described = [this._error.id];
    this.node.append(...(checkbox ? [input, caption] : [caption, input]), this._error);
    if (hint) {
      const words = element('div', 'jp-StreaminferField-hint', hint);
      words.id = `${id}-hint`;
      described.push(words.id);
      this.node.append(words);
    }
    input.setAttribute('aria-describedby', described.join(' '));
    if (!checkbox) {
      input.classList.add('jp-mod-styled');
    }
  }

  /** Say what is wrong with the value; nothing for an empty message. */
  fault(message: string): void {
    this._error.textContent = message;
    this._error.hidden = message === '';
    this.node.classList.toggle('jp-mod-faulty', message !== '');
    if (message) {
      this.input.setAttribute('aria-invalid', 'true');
    } else {
      this.input.removeAttribute('aria-invalid');
    }
  }

  private readonly _error: HTMLElement;
}

/** An input for a line of text. */
export function text(value = '', placeholder = ''): HTMLInputElement {
  const input = element('input');
  input.type = 'text';
  input.value = value;
  input.placeholder = placeholder;
  input.spellcheck = false;
  input.autocomplete = 'off';
  return input;
}

/** An input for some lines of text. */
export function lines(rows: number, placeholder = ''): HTMLTextAreaElement {
  const input = element('textarea');
  input.rows = rows;
  input.placeholder = placeholder;
  return input;
}

/** A choice of one of some values. */
export function choice(values: readonly string[], value = values[0]): HTMLSelectElement {
  const input = element('select');
  for (const each of values) {
    input.append(new Option(each, each, false, each === value));
  }
  return input;
}

/** A box to tick. */
export function checkbox(checked = false): HTMLInputElement {
  const input = element('input');
  input.type = 'checkbox';
  input.checked = checked;
  return input;
}
