import type { ErrorInfo, Notice } from '../protocol';

const WORDS: Record<Notice['code'], string> = {
  slow_consumer: 'this page is behind',
  paused: 'waiting for this page',
  resumed: '',
  retrying: 'its worker was lost or late; continuing',
  repeating: 'it repeats itself',
  stalled: 'no token for a while',
  long: 'unusually long',
  alert: 'an alert fires'
};
/** So long a notice stays at least, or nobody could read it: a laggard's deltas come with it. */
const READABLE_MS = 2000;

/** What the status line says of a stream that is not simply going on, and until when. */
export class Notices {
  /** `show`: put words in the status line, `detail` being what the server says in full; none where there are none. */
  constructor(private readonly _show: (words: string, detail: string) => void) {}

  /** The server told something about the stream. */
  notice({ code, message }: Notice): void {
    if (code === 'resumed') {
      this._fade();
    } else {
      this._put(WORDS[code], message, code === 'paused');
    }
  }

  /** The request was refused for the moment, and is sent again by itself. */
  refused(error: ErrorInfo, waitMs: number): void {
    const who = error.code === 'model_not_ready' ? 'the model is not ready' : 'the server is busy';
    this._put(`${who}; trying again in ${Math.ceil(waitMs / 1000)} s`, error.message, true);
  }

  /** The stream goes on. */
  delta(): void {
    if (!this._held) {
      this._fade();
    }
  }

  /** Nothing of it holds any longer. */
  clear(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
    if (this._words) {
      this._words = '';
      this._show('', '');
    }
  }

  /** `held`: it holds although deltas come, as those that were under way still do. */
  private _put(words: string, detail: string, held: boolean): void {
    this.clear();
    this._words = words;
    this._held = held;
    this._shown = performance.now();
    this._show(words, detail);
  }

  private _fade(): void {
    if (this._words) {
      this._timer ||= window.setTimeout(
        () => {
          this.clear();
        },
        Math.max(0, this._shown + READABLE_MS - performance.now())
      );
    }
  }

  private _words = '';
  private _held = false;
  private _shown = 0;
  private _timer = 0;
}
