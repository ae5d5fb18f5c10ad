import type { Metrics } from '../protocol';

/** How far back samples are kept and asked for, in seconds; as far as the server has them. */
export const HISTORY_S = 600;

/** The last of some samples, if there are any. */
export function newestOf(samples: readonly Metrics[]): Metrics | null {
  return samples[samples.length - 1] ?? null;
}

/** The samples of the last minutes, the oldest first. */
export class SampleLog {
  get samples(): readonly Metrics[] {
    return this._samples;
  }

  get newest(): Metrics | null {
    return newestOf(this._samples);
  }

  add(sample: Metrics): void {
    // Where the server's clock was set back, what lies ahead of it now is not shown beside what comes.
    while (this.newest !== null && this.newest.at >= sample.at) {
      this._samples.pop();
    }
    this._samples.push(sample);
    const first = this._samples.findIndex(({ at }) => at > sample.at - HISTORY_S);
    this._samples.splice(0, first);
  }

  replace(samples: readonly Metrics[]): void {
    this._samples = [...samples];
  }

  private _samples: Metrics[] = [];
}
