import type { IMetricsListener, IMetricsSource, SourceState, Topic } from '../metrics/source';
import { ServerSource } from '../metrics/serverSource';
import type { ErrorInfo } from '../protocol';
import { labServer } from './labServer';
import { ask, Refusal } from './rest';

const NOT_FOUND = 404;

/**
 * The one source that all our parts of the page share: one socket, open while any of them listens.
 *
 * Before the first one it asks, once, whether this server has the engine at all: a WebSocket that is turned away
 * does not say why.
 */
export class LiveSource implements IMetricsSource {
  /** `absent`: what is said where the server has no engine. */
  constructor(private readonly _absent: string) {}

  /** Whether the server has no engine: nothing is wrong, there is just nothing to see. */
  get absent(): boolean {
    return this._error !== null && this._state === 'failed' && this._error.message === this._absent;
  }

  subscribe(topics: readonly Topic[], listener: IMetricsListener): () => void {
    const subscription: ISubscription = { topics, listener, end: null };
    this._subscriptions.add(subscription);
    if (this._source) {
      subscription.end = this._source.subscribe(topics, listener);
    } else if (this._state === 'failed') {
      listener.state?.(this._state, this._error);
    } else {
      void this._begin();
    }
    return () => {
      this._subscriptions.delete(subscription);
      subscription.end?.();
    };
  }

  retry(): void {
    if (this._source) {
      this._source.retry();
    } else {
      void this._begin();
    }
  }

  cancel(stream: string): void {
    this._source?.cancel(stream);
  }

  dispose(): void {
    this._source?.dispose();
    this._source = null;
    this._subscriptions.clear();
  }

  private async _begin(): Promise<void> {
    if (this._beginning) {
      return;
    }
    this._beginning = true;
    this._tell('connecting', null);
    try {
      await ask('health');
    } catch (error) {
      if (error instanceof Refusal && error.status === NOT_FOUND) {
        this._tell('failed', { code: 'internal', message: this._absent });
        return;
      } // Else it is the source's to say, and to come back.
    } finally {
      this._beginning = false;
    }
    this._source = new ServerSource(labServer());
    for (const each of this._subscriptions) {
      each.end = this._source.subscribe(each.topics, each.listener);
    }
  }

  private _tell(state: SourceState, error: ErrorInfo | null): void {
    this._state = state;
    this._error = error;
    for (const each of this._subscriptions) {
      each.listener.state?.(state, error);
    }
  }

  private readonly _subscriptions = new Set<ISubscription>();
  private _source: ServerSource | null = null;
  private _beginning = false;
  /** Until there is a source, which tells its own. */
  private _state: SourceState = 'connecting';
  private _error: ErrorInfo | null = null;
}

interface ISubscription {
  topics: readonly Topic[];
  listener: IMetricsListener;
  end: (() => void) | null;
}
