import { element, flatButton } from '../view';

/** What the model is told before the conversation, behind a button that opens it. */
export class SystemPrompt {
  readonly node = element('label', 'jp-StreaminferChat-system', 'What the model is told before the conversation');
  readonly button: HTMLButtonElement;

  /** `changed`: somebody wrote another one. */
  constructor(changed: () => void) {
    this.button = flatButton('System prompt', '', () => {
      this._open(this.node.hidden);
      if (!this.node.hidden) {
        this._text.focus();
      }
    });
    this._text.rows = 3;
    this._text.addEventListener('change', changed);
    this._text.addEventListener('keydown', event => {
      event.stopPropagation();
    });
    this.node.append(this._text);
    this._open(false);
  }

  get value(): string {
    return this._text.value.trim();
  }

  set value(text: string) {
    if (text !== this.value) {
      this._text.value = text;
    }
  }

  private _open(open: boolean): void {
    this.node.hidden = !open;
    this.button.setAttribute('aria-expanded', `${open}`);
  }

  private readonly _text = element('textarea', 'jp-StreaminferChat-text');
}
