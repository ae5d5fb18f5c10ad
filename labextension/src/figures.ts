import type { Timings, Usage } from './protocol';
import type { IFigures } from './snapshot';

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
    this._last = times[times.length - 1] ?? this._last;
  }

  /** The figures so far, or at the end with the server's own count. */
  figures(end?: { usage: Usage; timings: Timings }): IFigures {
    const span = this._first === null || this._last === null ? 0 : this._last - this._first;
    return {
      tokens: this._begun + (end?.usage.completion_tokens ?? this._skipped + this._tokens),
      tokens_per_s: span > 0 ? ((this._tokens - 1) * 1000) / span : null,
      ttft_ms: end ? end.timings.ttft_ms : this._skipped ? null : this._first
    };
  }

  private _tokens = 0;
  private _first: number | null = null;
  private _last: number | null = null;
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

function formatMs(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
