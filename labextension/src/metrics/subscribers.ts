import type { ErrorInfo, Metrics, Sample } from '../protocol';
import { SampleLog } from './sampleLog';
import type { IMetricsListener, SourceState, Topic } from './source';

/** Who listens to a source, and what whoever comes later is told first: all that the others know. */
export class Subscribers {
  /** `changed` is called once after the topics that are asked for have changed. */
  constructor(private readonly _changed: (topics: readonly Topic[]) => void) {}

  add(topics: readonly Topic[], listener: IMetricsListener): () => void {
    const entry = { topics, listener };
    this._entries.add(entry);
    this._settle();
    listener.state?.(this._state, this._error);
    if (topics.includes('metrics') && this.log.samples.length > 0) {
      listener.history?.([...this.log.samples]);
    }
    for (const sample of this._latest.values()) {
      tell(entry, sample);
    }
    return () => {
      this._entries.delete(entry);
      this._settle();
    };
  }

  /** What is asked for, by anybody. */
  get topics(): readonly Topic[] {
    return [...new Set([...this._entries].flatMap(entry => entry.topics))].sort();
  }

  state(state: SourceState, error: ErrorInfo | null = null): void {
    this._state = state;
    this._error = error;
    this._each(({ listener }) => {
      listener.state?.(state, error);
    });
  }

  /** Instead of all samples before. */
  history(samples: Metrics[]): void {
    this.log.replace(samples);
    this._each(({ topics, listener }) => {
      if (topics.includes('metrics')) {
        listener.history?.([...samples]);
      }
    });
  }

  sample(sample: Sample): void {
    if (sample.type === 'metrics') {
      this.log.add(sample.metrics);
    } else {
      this._latest.set(sample.type, sample);
    }
    this._each(entry => {
      tell(entry, sample);
    });
  }

  /** Nobody is told anything any more. */
  clear(): void {
    this._entries.clear();
    this._latest.clear();
    window.clearTimeout(this._timer);
  }

  private _each(action: (entry: IEntry) => void): void {
    [...this._entries].forEach(action);
  }

  /** Panels come and go by the handful: what is asked for is settled when they all have. */
  private _settle(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => {
      const topics = this.topics;
      for (const type of this._latest.keys()) {
        if (!topics.includes(type)) {
          this._latest.delete(type); // Nobody keeps it fresh, so nobody may be told of it later.
        }
      }
      this._changed(topics);
    });
  }

  readonly log = new SampleLog();
  private readonly _entries = new Set<IEntry>();
  private readonly _latest = new Map<'models' | 'streams', Sample>();
  private _state: SourceState = 'connecting';
  private _error: ErrorInfo | null = null;
  private _timer = 0;
}

interface IEntry {
  topics: readonly Topic[];
  listener: IMetricsListener;
}

function tell({ topics, listener }: IEntry, sample: Sample): void {
  if (!topics.includes(sample.type)) {
    return;
  }
  switch (sample.type) {
    case 'metrics':
      listener.metrics?.(sample.metrics);
      break;
    case 'models':
      listener.models?.(sample.models);
      break;
    case 'streams':
      listener.streams?.(sample);
      break;
  }
}
