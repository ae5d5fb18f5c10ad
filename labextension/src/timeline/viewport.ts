/** No token is so much shorter that a closer look would show more. */
const CLOSEST_MS = 0.5;

/** Which part of the time is seen. Until somebody chooses a part, it is all of it, however long that grows. */
export class Viewport {
  begin = 0;
  length = 1;

  /** The axis is as long as this now. */
  grow(whole: number): void {
    this._whole = whole;
    if (this._fitted) {
      this.begin = 0;
      this.length = whole * 1.02;
    }
  }

  /** See all. */
  fit(): void {
    this._fitted = true;
    this.grow(this._whole);
  }

  /** See `factor` as much as before, with what is at `share` of the width staying there. */
  zoom(factor: number, share = 0.5): void {
    const length = Math.min(Math.max(this.length * factor, CLOSEST_MS), this._whole * 1.02);
    this._move(this.begin + (this.length - length) * share, length);
  }

  /** Move by that share of what is seen, to later times where it is positive. */
  pan(share: number): void {
    this._move(this.begin + share * this.length, this.length);
  }

  /** Move no further than is needed to see a time. */
  reveal(ms: number): void {
    if (ms < this.begin || ms > this.begin + this.length) {
      this._move(ms - this.length / 2, this.length);
    }
  }

  private _move(begin: number, length: number): void {
    const most = this._whole * 1.02 - length;
    this.begin = Math.max(0, Math.min(begin, most));
    this.length = length;
    this._fitted = most <= 0;
  }

  private _whole = 1;
  private _fitted = true;
}
