/** What the kernel says of a stream: `Row` in jupyter_streaminfer/widgets/track.py. */
export interface IRow {
  id: string;
  model: string;
  state: string;
  /** When it was accepted, in seconds of Unix time. */
  began: number | null;
  queue_ms: number | null;
  ttft_ms: number | null;
  duration_ms: number | null;
  tokens: number;
  itl_mean_ms: number | null;
  itl_max_ms: number | null;
}

/** A stream and when its tokens came, in milliseconds since it was accepted. */
export class Track {
  constructor(public row: IRow) {}

  /** How many tokens are here; the row may know of more, which are under way. */
  get count(): number {
    return this._count;
  }

  /** Where it ends, as far as is known. */
  get end(): number {
    return this.row.duration_ms ?? Math.max(this.at(this._count - 1), this.row.queue_ms ?? 0);
  }

  at(index: number): number {
    return index >= 0 && index < this._count ? (this._times[index] ?? 0) : 0;
  }

  text(index: number): string {
    return this._texts[index] ?? '';
  }

  /** Take tokens, the first of which has that index; those that are here already may come again. */
  take(first: number, times: Float64Array, texts: readonly string[]): void {
    const end = first + times.length;
    if (first > this._count) {
      return; // What lies between was sent before this page listened, and is sent again.
    }
    if (end > this._times.length) {
      const larger = new Float64Array(Math.max(end, 2 * this._times.length));
      larger.set(this._times.subarray(0, this._count));
      this._times = larger;
    }
    this._times.set(times, first);
    texts.forEach((text, index) => {
      this._texts[first + index] = text;
    });
    this._count = Math.max(this._count, end);
  }

  /** The index of the first token, from `from` on, that came at this time or later. */
  search(ms: number, from = 0): number {
    let [low, high] = [from, this._count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this._times[middle] ?? 0) < ms) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  /** The index of the token that is nearest to a time; -1 where there is none. */
  nearest(ms: number): number {
    const after = this.search(ms);
    if (after === 0 || (after < this._count && this.at(after) - ms < ms - this.at(after - 1))) {
      return after < this._count ? after : -1;
    }
    return after - 1;
  }

  private _times = new Float64Array(64);
  private readonly _texts: string[] = [];
  private _count = 0;
}

/** All streams of a timeline on one axis: milliseconds since the first of them was accepted. */
export class Tracks {
  readonly all: Track[] = [];
  /** When the first of them was accepted, in seconds of Unix time. */
  private _origin = 0;

  setRows(rows: readonly IRow[]): void {
    rows.forEach((row, index) => {
      const track = this.all[index] as Track | undefined;
      if (track) {
        track.row = row;
      } else {
        this.all.push(new Track(row));
      }
    });
    this._origin = Math.min(...rows.flatMap(({ began }) => (began === null ? [] : [began])));
  }

  /** Where a stream begins on the axis; those of which it is not known begin with the first. */
  offset(track: Track): number {
    return track.row.began === null ? 0 : (track.row.began - this._origin) * 1000;
  }

  /** All of them, in milliseconds; never nothing. */
  get length(): number {
    return Math.max(1, ...this.all.map(track => this.offset(track) + track.end));
  }
}
