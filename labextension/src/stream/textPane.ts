import { MarkdownText } from '../markdown/markdownText';
import { element } from '../view';
import type { IToken } from './confidence';
import { Pacer } from './pacer';
import { PlainText } from './plainText';
import type { ITextBody, TextMode } from './textBody';
import { TokenText } from './tokenText';

const PROMPT_CHARACTERS = 400;
/** So close to the end, in pixels, it is followed. */
const NEAR = 8;

/**
 * The text of a stream in a region that scrolls, and follows the end while the reader is there.
 *
 * Nothing here touches the page but `draw`, which is called once an animation frame.
 */
export class TextPane {
  readonly node = element('div', 'jp-TokenStream-text');

  /** `pointed`: told of the token that is pointed at or focused, if any. */
  constructor(private readonly _pointed: (token: IToken | null) => void) {
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'log');
    this.node.setAttribute('aria-label', 'Model output');
    // Spoken as a whole by an announcer, not token by token.
    this.node.setAttribute('aria-live', 'off');
    this.node.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = this.node;
      this._following = scrollHeight - scrollTop - clientHeight < NEAR;
    });
  }

  /** Show, muted and apart from the text, the end of what the text continues. */
  setPrompt(prompt: string): void {
    const shown = prompt.length > PROMPT_CHARACTERS ? `…${prompt.slice(-PROMPT_CHARACTERS)}` : prompt;
    this._stale ||= shown !== this._prompt;
    this._prompt = shown;
  }

  setMode(mode: TextMode): void {
    this._stale ||= mode !== this.mode;
    this.mode = mode;
  }

  /** Show another text, of whose beginning some tokens may be known; one that goes on after what is there just grows. */
  setText(text: string, tokens: readonly IToken[] | null = null): void {
    const known = tokens?.length ?? 0;
    if (known > this.tokens.length) {
      this._stale ||= this.mode === 'tokens';
      this.tokens = [...(tokens ?? [])];
    }
    if (text.startsWith(this.whole)) {
      this._pacer.add(text.slice(this.whole.length), performance.now());
      this.whole = text;
    } else {
      this.whole = text;
      this.tokens = known ? [...(tokens ?? [])] : [];
      this._stale = this._replaced = true;
    }
  }

  /** Show more of the text, whose tokens are these, where they are known. */
  append(text: string, tokens: readonly IToken[]): void {
    if (tokens.length && !this.tokens.length && this.whole) {
      this.tokens.push({ text: this.whole, logprob: null, top: [] });
    }
    this.tokens.push(...tokens);
    this.whole += text;
    this._pacer.add(text, performance.now());
  }

  /** Follow the end again. */
  follow(): void {
    this._following = true;
  }

  /** Bring the page up to date; returns whether there is more to show with a later frame. */
  draw(running: boolean): boolean {
    let text = running && !calm() ? this._pacer.take(performance.now()) : this._pacer.all();
    if (this._stale) {
      this._rebuild();
      text = this.whole;
      // What has ended is read from its start, what goes on at its end.
      this._following = this._replaced ? running : this._following;
      this._replaced = false;
    }
    if (text) {
      this._body?.grow(text);
    }
    if (!running) {
      this._body?.finish?.();
    }
    if (text && this._following) {
      this.node.scrollTop = this.node.scrollHeight;
    }
    return this._pacer.waiting;
  }

  private _rebuild(): void {
    this._stale = false;
    this._pacer.all();
    this._pointed(null);
    const body =
      this.mode === 'markdown'
        ? new MarkdownText()
        : this.mode === 'tokens'
          ? new TokenText(this.tokens, this._pointed)
          : new PlainText(this._prompt);
    this._body = body;
    this.node.replaceChildren(body.node);
  }

  /** Everything that was received, shown or about to be. */
  whole = '';
  /** Of the whole, as far as they are known. */
  tokens: IToken[] = [];
  mode: TextMode = 'plain';
  private readonly _pacer = new Pacer();
  private _body: ITextBody | null = null;
  private _prompt = '';
  private _stale = true;
  private _replaced = true;
  private _following = true;
}

function calm(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}
