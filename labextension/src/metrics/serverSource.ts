import type { ClientMessage, Error as ServerError, ErrorInfo, ServerMessage } from '../protocol';
import { newId, streamAddress, type IServer } from '../server';
import { Backoff, isBusy } from '../stream/patience';
import { HISTORY_S } from './sampleLog';
import type { IMetricsListener, IMetricsSource, Topic } from './source';
import { Subscribers } from './subscribers';

/** A server that never once accepted the connection is asked this often. */
const FIRST_ATTEMPTS = 6;
/** Samples come once a second: after such a silence the server is asked whether it lives, and after another given up. */
const SILENCE_MS = 5_000;

/**
 * Samples from the page's own server, over one WebSocket for all who listen; none while nobody does.
 *
 * It comes back after a lost connection and then has the samples of the meantime, as far as the server kept them.
 */
export class ServerSource implements IMetricsSource {
  constructor(private readonly _server: IServer) {}

  subscribe(topics: readonly Topic[], listener: IMetricsListener): () => void {
    return this._subscribers.add(topics, listener);
  }

  retry(): void {
    if (this._failed) {
      this._failed = false;
      this._backoff.reset();
      this._subscribers.state('connecting');
      this._settle(this._subscribers.topics);
    }
  }

  cancel(stream: string): void {
    this._send({ type: 'cancel', id: newId(), stream });
  }

  dispose(): void {
    this._subscribers.clear();
    this._drop();
  }

  /** Ask for what is wanted now, and for nothing where nothing is. */
  private _settle(topics: readonly Topic[]): void {
    if (topics.length === 0) {
      this._failed = false;
      this._backoff.reset();
      this._drop();
    } else if (this._failed) {
      return;
    } else if (this._socket === null && this._timer === 0) {
      this._connect();
    } else if (this._socket?.readyState === WebSocket.OPEN && topics.join() !== this._topics.join()) {
      this._watch(topics);
    }
  }

  private _connect(): void {
    const socket = new WebSocket(streamAddress(this._server));
    this._socket = socket;
    this._giveUpAfter(SILENCE_MS * 2);
    socket.onopen = () => {
      this._opened = true;
      this._watch(this._subscribers.topics);
      this._listen();
    };
    socket.onmessage = (message: MessageEvent<string>) => {
      this._listen();
      this._receive(JSON.parse(message.data) as ServerMessage);
    };
    socket.onclose = () => {
      this._lose();
    };
  }

  /** One watch takes the place of another: what came before on this connection need not come again. */
  private _watch(topics: readonly Topic[]): void {
    const before = this._topics.includes('metrics');
    this._withHistory = topics.includes('metrics') && !before;
    this._topics = topics;
    this._id = newId();
    this._send({ type: 'watch', id: this._id, topics: [...topics], history_s: this._withHistory ? HISTORY_S : 0 });
  }

  private _receive(message: ServerMessage): void {
    switch (message.type) {
      case 'watching':
        if (message.id === this._id) {
          this._backoff.reset();
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
    this._drop();
    const wait = this._backoff.next(atLeast);
    if (!this._opened && this._backoff.failures >= FIRST_ATTEMPTS) {
      const message = 'The Jupyter server did not accept a connection to streaminfer/ws.';
      this._fail({ code: 'internal', message, retryable: true });
    } else {
      this._next(wait, () => {
        this._timer = 0;
        this._connect();
      });
      this._subscribers.state(this._opened ? 'disconnected' : 'connecting');
    }
  }

  private _fail(error: ErrorInfo): void {
    this._drop();
    this._failed = true;
    this._subscribers.state('failed', error);
  }

  private _listen(): void {
    this._next(SILENCE_MS, () => {
      this._send({ type: 'ping', id: newId() });
      this._giveUpAfter(SILENCE_MS);
    });
  }

  private _giveUpAfter(ms: number): void {
    this._next(ms, () => {
      this._lose();
    });
  }

  /** Do this next, unless something else is to be done before. */
  private _next(ms: number, action: () => void): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(action, ms);
  }

  private _send(message: ClientMessage): void {
    if (this._socket?.readyState === WebSocket.OPEN) {
      this._socket.send(JSON.stringify(message));
    }
  }

  private _drop(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
    this._topics = [];
    if (this._socket) {
      this._socket.onopen = this._socket.onmessage = this._socket.onclose = null;
      this._socket.close();
      this._socket = null;
    }
  }

  private readonly _subscribers = new Subscribers(topics => {
    this._settle(topics);
  });
  private readonly _backoff = new Backoff();
  private _socket: WebSocket | null = null;
  private _timer = 0;
  /** The watch that is to be answered, and what it asked for. */
  private _id = '';
  private _topics: readonly Topic[] = [];
  private _withHistory = false;
  /** Whether the server ever accepted a connection. */
  private _opened = false;
  /** Whether it is not tried any more, until somebody asks for it. */
  private _failed = false;
}
