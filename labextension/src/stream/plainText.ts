import { element } from '../view';
import type { ITextBody } from './textBody';
import { appendVisible, cutAt } from './visible';

/** A chunk ends with the first line that brings it to so many characters, */
const CHUNK = 4096;
/** or inside a line at so many. */
const LONGEST = 16_384;
/** So many elements for control characters are in a chunk at most. */
const MOST_CONTROLS = 512;

/**
 * The text as it is, in text nodes.
 *
 * It stands in chunks, each a block of its own: the browser lays out again only the one that grows.
 */
export class PlainText implements ITextBody {
  readonly node = element('div', 'jp-TokenStream-plain');

  constructor(prompt: string) {
    this._begin();
    // The style sheet draws it, so that it is neither selected nor copied nor taken for the text.
    this._chunk.dataset.prompt = prompt;
  }

  grow(text: string): void {
    let rest = text;
    while (rest) {
      if (this._size >= LONGEST || (this._size >= CHUNK && this._ended)) {
        this._begin();
      }
      const line = rest.indexOf('\n', Math.max(0, CHUNK - this._size - 1)) + 1;
      const end = cutAt(rest, Math.min(line || rest.length, LONGEST - this._size)) || rest.length;
      const part = rest.slice(0, end);
      this._controls += appendVisible(this._chunk, part, MOST_CONTROLS - this._controls);
      this._size += end;
      this._ended = part.endsWith('\n');
      rest = rest.slice(end);
    }
  }

  private _begin(): void {
    this._chunk = element('div', 'jp-TokenStream-chunk');
    this.node.append(this._chunk);
    this._size = this._controls = 0;
  }

  private _chunk!: HTMLElement;
  private _size = 0;
  private _controls = 0;
  /** Whether a line ends where the text does. */
  private _ended = false;
}
