const INTERVAL_MS = 250;

/**
 * Tells the server what this page has dealt with, a few times a second, so that a page which cannot keep up slows
 * the model down instead of filling sockets.
 *
 * Dealt with is what the page's thread has taken and keeps, not what is on the screen. Text is drawn on that same
 * thread, so a page that is busy drawing, or frozen, takes nothing and acknowledges nothing: it does lag. A page that
 * is hidden, or whose frame is scrolled away, gets no animation frames; but it has the text, will draw it all at once,
 * and must not make others wait for a moment at which somebody looks. For the same reason what comes after the
 * interval is acknowledged at once and not by a timer: browsers let the timers of hidden pages fire once a minute.
 */
export class Acknowledger {
  constructor(private readonly _send: (seq: number) => void) {}

  /** Everything up to `seq` is taken. */
  took(seq: number): void {
    this._seq = seq;
    const wait = this._sent + INTERVAL_MS - performance.now();
    if (wait <= 0) {
      this._tell();
    } else {
      this._timer ||= window.setTimeout(() => {
        this._tell();
      }, wait);
    }
  }

  /** Owe nothing any more: the connection that it was for is gone. */
  clear(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
  }

  private _tell(): void {
    this.clear();
    this._sent = performance.now();
    this._send(this._seq);
  }

  private _seq = -1;
  private _sent = -INTERVAL_MS;
  private _timer = 0;
}
