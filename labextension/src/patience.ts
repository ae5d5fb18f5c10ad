import type { ErrorInfo } from './protocol';

const FIRST_MS = 250;
const LONGEST_MS = 15_000;
const TRIES = 3;
const PATIENCE_MS = 30_000;

/** Refusals that say nothing about the request: the same one may be taken a little later. */
const BUSY: ReadonlySet<ErrorInfo['code']> = new Set(['overloaded', 'rate_limited', 'model_not_ready']);

/** How long to wait before coming back: doubled each time, and less a random part so that pages spread. */
export class Backoff {
  /** In milliseconds; `atLeast` is what the server asks for. */
  next(atLeast = 0): number {
    const delay = Math.min(LONGEST_MS, FIRST_MS * 2 ** this._failures);
    this._failures += 1;
    return atLeast + delay * (0.5 + Math.random() / 2);
  }

  /** It went well: begin with short waits again. */
  reset(): void {
    this._failures = 0;
  }

  get failures(): number {
    return this._failures;
  }

  private _failures = 0;
}

/** Whether the server is only too busy just now. */
export function isBusy(error: ErrorInfo): boolean {
  return error.retryable === true && BUSY.has(error.code);
}

/** Decides whether a refused request is sent again: some times, and not for long. */
export class Patience {
  /** The wait in milliseconds, or null for the refusal to be told. */
  wait(error: ErrorInfo): number | null {
    this._began ??= performance.now();
    if (!isBusy(error) || this._backoff.failures >= TRIES) {
      return null;
    }
    const wait = this._backoff.next(error.retry_after_ms ?? 0);
    return performance.now() + wait > this._began + PATIENCE_MS ? null : wait;
  }

  private readonly _backoff = new Backoff();
  private _began: number | null = null;
}
