import { button, element } from '../view';

/** What went wrong, where it belongs, until somebody has read it or it is over. */
export class Problem {
  readonly node = element('div', 'jp-StreaminferProblem');

  /** `dismiss`: what the button that is called `words` does. */
  constructor(words: string, dismiss: () => void) {
    this._message.setAttribute('role', 'alert');
    this._button = button(words, 'jp-Streaminfer-button', dismiss);
    this.node.append(this._message, this._button);
    this.show('', false);
  }

  /** Show a message, or nothing for an empty one; `lasting`: it is over when its cause is. */
  show(message: string, lasting: boolean): void {
    if (this._message.textContent !== message) {
      this._message.textContent = message;
    }
    this.node.hidden = message === '';
    this._button.hidden = lasting;
  }

  private readonly _message = element('div');
  private readonly _button: HTMLButtonElement;
}
