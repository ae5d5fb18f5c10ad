import { element, flatButton } from '../view';

const MOST_ROWS = 10;

/** A text to be sent: Enter sends it, Shift+Enter begins a line. */
export class InputBox {
  readonly node = element('form', 'jp-StreaminferChat-input');

  /** `send` returns whether the text was taken; `cancel`, where there is one, is also what Escape does. */
  constructor(
    label: string,
    private readonly _send: (text: string) => boolean,
    cancel?: () => void,
    private readonly _changed?: (text: string) => void
  ) {
    this._text.setAttribute('aria-label', label);
    this._text.placeholder = label;
    this._text.rows = 1;
    this._text.addEventListener('keydown', event => {
      // While an input method composes a word, Enter chooses that word.
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this._submit();
      } else if (event.key === 'Escape' && cancel) {
        event.preventDefault();
        cancel();
      }
      // Keys typed here are no shortcuts of the page around.
      event.stopPropagation();
    });
    this._text.addEventListener('input', () => {
      this._fit();
      this._changed?.(this._text.value);
    });
    this.node.addEventListener('submit', event => {
      event.preventDefault();
      this._submit();
    });
    this._button.type = 'submit';
    this.node.append(this._text, this._button);
    if (cancel) {
      this.node.append(flatButton('Cancel', '', cancel));
    }
  }

  get value(): string {
    return this._text.value;
  }

  set value(text: string) {
    this._text.value = text;
    this._fit();
  }

  /** Whether a text can be sent now; it can be written in any case. */
  set ready(ready: boolean) {
    this._button.disabled = !ready;
  }

  focus(): void {
    this._text.focus();
  }

  private _submit(): void {
    const text = this._text.value.trim();
    if (text && !this._button.disabled && this._send(text)) {
      this.value = '';
      this._changed?.('');
    }
  }

  private _fit(): void {
    this._text.rows = Math.min(MOST_ROWS, this._text.value.split('\n').length);
  }

  private readonly _text = element('textarea', 'jp-StreaminferChat-text');
  private readonly _button = flatButton('Send', 'jp-mod-go jp-StreaminferChat-send', () => undefined);
}
