import { Connection } from '../connection';
import { isBusy } from '../patience';
import type { Error as ServerError, ErrorInfo, ServerMessage } from '../protocol';
import { newId, type IServer } from '../server';
import { HISTORY_S } from './sampleLog';
import type { IMetricsListener, IMetricsSource, Topic } from './source';
import { Subscribers } from './subscribers';

/** Samples come once a second. */
const SILENCE_MS = 5_000;

/**
 * Samples from the page's own server, over one WebSocket for all who listen; none while nobody does.
 *
 * It comes back after a lost connection and then has the samples of the meantime, as far as the server kept them.
 */
export class ServerSource implements IMetricsSource {
  constructor(server: IServer) {
    this._connection = new Connection(server, SILENCE_MS, {
      opened: () => {
        this._watch(this._subscribers.topics);
      },
      received: message => {
        this._receive(message);
      },
      lost: () => {
        this._lose();
      }
    });
  }

  subscribe(topics: readonly Topic[], listener: IMetricsListener): () => void {
    return this._subscribers.add(topics, listener);
  }

  retry(): void {
    if (this._failed) {
      this._failed = false;
      this._connection.works();
      this._subscribers.state('connecting');
      this._settle(this._subscribers.topics);
    }
  }

  cancel(stream: string): void {
    this._connection.send({ type: 'cancel', id: newId(), stream });
  }

  dispose(): void {
    this._subscribers.clear();
    this._part();
  }

  /** Ask for what is wanted now, and for nothing where nothing is. */
  private _settle(topics: readonly Topic[]): void {
    if (topics.length === 0) {
      this._failed = false;
      this._connection.works();
      this._part();
    } else if (this._failed) {
      return;
    } else if (this._connection.isClosed) {
      this._connection.open();
    } else if (this._connection.isOpen && topics.join() !== this._topics.join()) {
      this._watch(topics);
    }
  }

  /** One watch takes the place of another: what came before on this connection need not come again. */
  private _watch(topics: readonly Topic[]): void {
    const before = this._topics.includes('metrics');
    this._withHistory = topics.includes('metrics') && !before;
    this._topics = topics;
    this._id = newId();
    this._connection.send({
      type: 'watch',
      id: this._id,
      topics: [...topics],
      history_s: this._withHistory ? HISTORY_S : 0
    });
  }

  private _receive(message: ServerMessage): void {
    switch (message.type) {
      case 'watching':
        if (message.id === this._id) {
          this._connection.works();
          this._subscribers.state('live');
          if (this._withHistory) {
            this._subscribers.history(message.history);
          }
        }
        break;
      case 'metrics':
      case 'models':
      case 'streams':
        this._subscribers.sample(message);
        break;
      case 'error':
        if (message.id === this._id) {
          this._refused(message);
        }
        break;
    }
  }

  private _refused({ code, message, retryable, retry_after_ms }: ServerError): void {
    if (isBusy({ code, message, retryable })) {
      this._lose(retry_after_ms ?? 0);
    } else {
      this._fail({ code, message, retryable });
    }
  }

  /** Part with the connection and come back with another one, after `atLeast` milliseconds. */
  private _lose(atLeast = 0): void {
    this._topics = [];
    if (this._connection.reopen(atLeast)) {
      this._subscribers.state(this._connection.accepted ? 'disconnected' : 'connecting');
    } else {
      const message = 'The Jupyter server did not accept a connection to streaminfer/ws.';
      this._fail({ code: 'internal', message, retryable: true });
    }
  }

  private _fail(error: ErrorInfo): void {
    this._part();
    this._failed = true;
    this._subscribers.state('failed', error);
  }

  private _part(): void {
    this._topics = [];
    this._connection.close();
  }

  private readonly _subscribers = new Subscribers(topics => {
    this._settle(topics);
  });
  private readonly _connection: Connection;
  /** The watch that is to be answered, and what it asked for. */
  private _id = '';
  private _topics: readonly Topic[] = [];
  private _withHistory = false;
  /** Whether it is not tried any more, until somebody asks for it. */
  private _failed = false;
}
