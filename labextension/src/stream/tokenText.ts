import { element } from '../view';
import { levelOf, type IToken } from './confidence';
import type { ITextBody } from './textBody';
import { appendVisible, cutAt } from './visible';

/** A chunk, which is laid out by itself, ends with the line that brings it to so many characters, */
const CHUNK = 4096;
/** or inside a line at so many. */
const LONGEST = 16_384;
/** Of a longer text, what follows is shown without its tokens. */
const MAX_TOKENS = 20_000;
/** So many elements for control characters are in a token at most. */
const MOST_CONTROLS = 256;

const STEPS: Partial<Record<string, (index: number, count: number) => number>> = {
  ArrowLeft: index => index - 1,
  ArrowRight: index => index + 1,
  Home: () => 0,
  End: (_, count) => count - 1
};

/**
 * The text token by token, each shaded and underlined by how likely it was.
 *
 * One token can be reached by the keyboard, from there its neighbours by the arrow keys; `pointed` is told of the one
 * that is pointed at or focused.
 */
export class TokenText implements ITextBody {
  readonly node = element('div', 'jp-TokenStream-tokens');

  constructor(
    private readonly _tokens: readonly IToken[],
    private readonly _pointed: (token: IToken | null) => void
  ) {
    this.node.setAttribute('role', 'group');
    this.node.setAttribute('aria-label', 'Tokens; arrow keys go from one to the next');
    this.node.addEventListener('mouseover', event => {
      this._point(event.target);
    });
    this.node.addEventListener('mouseleave', () => {
      this._point(document.activeElement);
    });
    this.node.addEventListener('focusin', event => {
      this._point(event.target);
      if (event.target instanceof HTMLElement && event.target !== this._reachable) {
        this._reach(event.target);
      }
    });
    this.node.addEventListener('keydown', event => {
      this._step(event);
    });
  }

  grow(text: string): void {
    this._until += text.length;
    for (let token = this._next(); token; token = this._next()) {
      this._drawn += 1;
      this._at += token.text.length;
      this._draw(token);
    }
    this._rest(text);
  }

  /** What is known of tokens ends before the text does: the rest of it is shown as it is. */
  private _rest(text: string): void {
    const missing = this._until - this._at;
    if (missing > 0 && this._drawn >= Math.min(this._tokens.length, MAX_TOKENS)) {
      this._at = this._until;
      for (let rest = text.slice(-missing); rest;) {
        const end = cutAt(rest, CHUNK) || rest.length;
        this._drawText(rest.slice(0, end));
        rest = rest.slice(end);
      }
    }
  }

  private _next(): IToken | undefined {
    const token = this._drawn < MAX_TOKENS ? this._tokens[this._drawn] : undefined;
    return token && this._at + token.text.length <= this._until ? token : undefined;
  }

  private _draw(token: IToken): void {
    const node = this._drawText(token.text);
    if (token.logprob === null) {
      return;
    }
    node.className = 'jp-TokenStream-token';
    node.dataset.level = levelOf(token.logprob);
    node.tabIndex = -1;
    this._known.set(node, token);
    this._nodes.push(node);
    if (!this._reachable) {
      this._reach(node);
    }
  }

  private _drawText(text: string): HTMLElement {
    if (!this._chunk || this._size >= LONGEST || (this._size >= CHUNK && this._ended)) {
      this._chunk = element('div', 'jp-TokenStream-chunk');
      this._size = 0;
      this.node.append(this._chunk);
    }
    const node = element('span');
    appendVisible(node, text, MOST_CONTROLS);
    this._chunk.append(node);
    this._size += text.length;
    this._ended = text.endsWith('\n');
    return node;
  }

  private _point(target: EventTarget | null): void {
    const token = target instanceof HTMLElement ? this._known.get(target) : undefined;
    this._pointed(token ?? null);
  }

  private _reach(node: HTMLElement): void {
    if (this._reachable) {
      this._reachable.tabIndex = -1;
    }
    node.tabIndex = 0;
    this._reachable = node;
  }

  private _step(event: KeyboardEvent): void {
    const step = STEPS[event.key];
    const index = this._nodes.indexOf(event.target as HTMLElement);
    if (step && index >= 0 && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this._nodes[step(index, this._nodes.length)]?.focus();
    }
  }

  private readonly _known = new WeakMap<HTMLElement, IToken>();
  private readonly _nodes: HTMLElement[] = [];
  private _reachable: HTMLElement | null = null;
  /** Tokens that are drawn, the characters of theirs, and the characters that are to be shown. */
  private _drawn = 0;
  private _at = 0;
  private _until = 0;
  private _chunk: HTMLElement | null = null;
  private _size = 0;
  /** Whether a line ends where the text does. */
  private _ended = false;
}
