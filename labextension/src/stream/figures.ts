import type { Timings, Usage } from '../protocol';
import type { IFigures } from './snapshot';

/** While it runs, percentiles are taken again this often: they sort all there is. */
const INTERVAL_MS = 500;

/** Counts a stream's tokens and reads its speed from the server's own times, so a late reader sees the true speed. */
export class Meter {
  /** `begun`: the tokens of the streams that this one goes on after; `skipped`: those of its own that are not told. */
  constructor(
    private readonly _begun = 0,
    private readonly _skipped = 0
  ) {}

  /** The times of some more tokens, in milliseconds; each text and value of a run counts as one. */
  add(times: readonly number[]): void {
    this._tokens += times.length;
    this._first ??= times[0] ?? null;
    for (const time of times) {
      if (this._last !== null) {
        this._gaps.push(time - this._last);
      }
      this._last = time;
    }
  }

  /** The figures so far, or at the end with the server's own count. */
  figures(end?: { usage: Usage; timings: Timings }): IFigures {
    const span = this._first === null || this._last === null ? 0 : this._last - this._first;
    const now = performance.now();
    if (end || now - this._sorted > INTERVAL_MS) {
      this._sorted = now;
      const gaps = [...this._gaps].sort((one, other) => one - other);
      this._itl = [percentile(gaps, 0.5), percentile(gaps, 0.95)];
    }
    return {
      tokens: this._begun + (end?.usage.completion_tokens ?? this._skipped + this._tokens),
      tokens_per_s: span > 0 ? ((this._tokens - 1) * 1000) / span : null,
      ttft_ms: end ? end.timings.ttft_ms : this._skipped ? null : this._first,
      itl_p50_ms: this._itl[0],
      itl_p95_ms: this._itl[1],
      queue_ms: end?.timings.queue_ms ?? null,
      duration_ms: end?.timings.duration_ms ?? null
    };
  }

  private _tokens = 0;
  private _first: number | null = null;
  private _last: number | null = null;
  private readonly _gaps: number[] = [];
  private _itl: [number | null, number | null] = [null, null];
  private _sorted = -Infinity;
}

/** Between sorted values, linearly interpolated as numpy does it; null for none. */
function percentile(sorted: readonly number[], share: number): number | null {
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  return sorted.length ? sorted[low] + (sorted[Math.ceil(place)] - sorted[low]) * (place - low) : null;
}

/** The status line's words: `128 tokens · 42.1 tokens/s · TTFT 6 ms`. */
export function describe(figures: IFigures): string {
  const parts = [`${figures.tokens} ${figures.tokens === 1 ? 'token' : 'tokens'}`];
  if (figures.tokens_per_s !== null) {
    parts.push(`${figures.tokens_per_s.toFixed(figures.tokens_per_s < 100 ? 1 : 0)} tokens/s`);
  }
  if (figures.ttft_ms !== null) {
    parts.push(`TTFT ${formatMs(figures.ttft_ms)}`);
  }
  return parts.join(' · ');
}

/** A name and a value for each time that is known, the first one first. */
export function timings(figures: IFigures): [name: string, value: string][] {
  const known: [string, number | null | undefined][] = [
    ['Queue', figures.queue_ms],
    ['Time to first token', figures.ttft_ms],
    ['Between tokens, p50', figures.itl_p50_ms],
    ['Between tokens, p95', figures.itl_p95_ms],
    ['In all', figures.duration_ms]
  ];
  return known.flatMap(([name, ms]) => (typeof ms === 'number' ? [[name, formatMs(ms)]] : []));
}

function formatMs(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
