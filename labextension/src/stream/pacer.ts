import { cutAt } from './visible';

/** No text is shown later than this after it came. */
export const LATEST_MS = 150;
/** How much of the usual time between two arrivals the latest one makes. */
const WEIGHT = 0.3;

interface IBurst {
  text: string;
  /** Characters of it that are shown. */
  shown: number;
  from: number;
  until: number;
}

/**
 * Shows what comes in bursts evenly: each over the time until the next one is due, in its order.
 *
 * Times are those of `performance.now()`.
 */
export class Pacer {
  /** Some text came. */
  add(text: string, now: number): void {
    const gap = Math.min(LATEST_MS, now - this._came);
    this._gap += WEIGHT * (gap - this._gap);
    this._came = now;
    const from = Math.max(now, this._until);
    this._until = Math.min(from + this._gap, now + LATEST_MS);
    this._bursts.push({ text, shown: 0, from, until: this._until });
  }

  /** What is to be shown by now, and was not before. */
  take(now: number): string {
    let text = '';
    while (this._bursts.length && this._bursts[0].from <= now) {
      const burst = this._bursts[0];
      const share = now >= burst.until ? 1 : (now - burst.from) / (burst.until - burst.from);
      const end = Math.max(burst.shown, cutAt(burst.text, Math.ceil(share * burst.text.length)));
      text += burst.text.slice(burst.shown, end);
      burst.shown = end;
      if (share < 1) {
        break;
      }
      this._bursts.shift();
    }
    return text;
  }

  /** All that was not shown yet. */
  all(): string {
    const text = this._bursts.map(burst => burst.text.slice(burst.shown)).join('');
    this._bursts.length = 0;
    this._until = 0;
    return text;
  }

  /** Whether there is more to show, with nothing further coming. */
  get waiting(): boolean {
    return this._bursts.length > 0;
  }

  private readonly _bursts: IBurst[] = [];
  /** When the last of what came is shown. */
  private _until = 0;
  private _came = -Infinity;
  /** The usual time between two arrivals. */
  private _gap = LATEST_MS;
}
