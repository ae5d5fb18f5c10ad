import { PlainText } from '../stream/plainText';
import { element, flatButton } from '../view';

const COPIED_MS = 1500;
const BIDI = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** A block of code with its language and a button that copies it; it may grow. */
export class CodeBlock {
  readonly node = element('div', 'jp-Markdown-code');

  constructor(language: string) {
    const name = language.split(/\s/, 1)[0] ?? '';
    const bar = element('div', 'jp-Markdown-codeBar');
    bar.append(element('span', 'jp-Markdown-language', name.slice(0, 40)));
    const copy = flatButton('Copy code', '', () => {
      void this._copy(copy);
    });
    bar.append(copy);
    const frame = element('pre');
    frame.tabIndex = 0;
    frame.setAttribute('role', 'group');
    frame.setAttribute('aria-label', name ? `Code, ${name.slice(0, 40)}` : 'Code');
    frame.append(this._body.node);
    this.node.append(bar, frame);
  }

  /** More of the code. Characters that reorder what is read are shown as what they are. */
  append(text: string): void {
    this._code += text;
    this._body.grow(
      text.replace(BIDI, mark => `⟨U+${mark.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`)
    );
  }

  private async _copy(copy: HTMLButtonElement): Promise<void> {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this._code);
    } catch {
      copied = false; // The page may not use the clipboard: leave it to the reader.
      getSelection()?.selectAllChildren(this._body.node);
    }
    copy.textContent = copied ? 'Copied' : 'Selected';
    window.setTimeout(() => {
      copy.textContent = 'Copy code';
    }, COPIED_MS);
  }

  private readonly _body = new PlainText('');
  private _code = '';
}
