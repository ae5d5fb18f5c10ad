import { element, flatButton, type IView } from '../view';
import { visible } from '../stream/visible';
import { InputBox } from './inputBox';

const COPIED_MS = 1500;

/** What somebody said: to be read, copied, and changed, which asks again. */
export class Question implements IView {
  readonly node = element('div', 'jp-StreaminferChat-question');

  constructor(
    readonly content: string,
    private readonly _change: (content: string) => boolean
  ) {
    this._show();
  }

  dispose(): void {
    this.node.remove();
  }

  private _show(focus = false): void {
    const edit = flatButton('Edit', '', () => {
      this._edit();
    });
    const copy = flatButton('Copy', '', () => {
      void this._copy(copy);
    });
    const buttons = element('div', 'jp-StreaminferChat-buttons');
    buttons.append(edit, copy);
    this._text.textContent = visible(this.content);
    this.node.replaceChildren(this._text, buttons);
    if (focus) {
      edit.focus();
    }
  }

  private _edit(): void {
    const box = new InputBox(
      'Change the message; what follows it is dropped',
      text => this._change(text),
      () => {
        this._show(true);
      }
    );
    box.value = this.content;
    this.node.replaceChildren(box.node);
    box.focus();
  }

  private async _copy(copy: HTMLButtonElement): Promise<void> {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this.content);
    } catch {
      copied = false; // The page may not use the clipboard: leave it to the reader.
      getSelection()?.selectAllChildren(this._text);
    }
    copy.textContent = copied ? 'Copied' : 'Selected';
    window.setTimeout(() => {
      copy.textContent = 'Copy';
    }, COPIED_MS);
  }

  private readonly _text = element('div', 'jp-StreaminferChat-said');
}
