import { Acknowledger } from './acknowledger';
import type { IReaderEvents } from './events';
import { Backoff, isBusy, Patience } from './patience';
import type {
  ClientMessage,
  Continue,
  Error as ServerError,
  ErrorInfo,
  Generate,
  Run,
  ServerMessage
} from '../protocol';
import { newId, streamAddress, type IServer } from '../server';

/** A server that never once accepted the connection is asked this often. */
const FIRST_ATTEMPTS = 6;
/** A connection on which nothing came for this long is asked whether it lives, and after another such time given up. */
const HEARTBEAT_MS = 15_000;

/**
 * Reads one stream over the native WebSocket, and comes back after a lost connection.
 *
 * It asks for everything after the last `seq` that it has, so nothing is lost and nothing repeated; an event
 * that does not follow its predecessor means that this connection is not to be trusted, and a new one is made.
 */
export class StreamReader {
  constructor(
    private readonly _server: IServer,
    private readonly _events: IReaderEvents
  ) {}

  /** Read a stream from its start. */
  attach(stream: string, epoch: string | null): void {
    this._stream = stream;
    this._epoch = epoch;
    this._connect();
  }

  /** Start a stream and read it. */
  start(request: Generate | Run | Continue): void {
    this._request = request;
    this._connect();
  }

  /** End the stream, now or as soon as the connection is back. */
  cancel(): void {
    this._cancelling = true;
    if (this._attached && this._stream !== null) {
      this._send({ type: 'cancel', id: newId(), stream: this._stream });
    } else if (this._stream === null && !this._asked) {
      this.dispose();
      this._events.withdrawn();
    }
  }

  dispose(): void {
    this._over = true;
    window.clearTimeout(this._timer);
    this._drop();
  }

  private _connect(): void {
    const socket = new WebSocket(streamAddress(this._server));
    this._socket = socket;
    this._giveUpAfter(HEARTBEAT_MS);
    socket.onopen = () => {
      this._opened = true;
      this._since = performance.now();
      this._ask();
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

  /** Send the request that this connection is for. */
  private _ask(): void {
    const id = (this._id = newId());
    if (this._stream !== null) {
      const [stream, epoch, after] = [this._stream, this._epoch, this._after];
      this._send({ type: 'attach', id, stream, epoch, after, snapshot: true });
    } else if (this._request) {
      this._asked = true;
      this._send({ ...this._request, id });
    }
  }

  private _receive(message: ServerMessage): void {
    switch (message.type) {
      case 'attached': {
        const snapshot = message.snapshot ?? null;
        const beginning = snapshot ?? (this._after < 0 ? { text: '', tokens: 0 } : null);
        this._stream = message.stream;
        this._epoch = message.epoch;
        this._attached = true;
        if (snapshot) {
          this._after = message.floor - 1;
        }
        this._events.attached(message.stream, message.epoch, beginning);
        if (this._cancelling) {
          this.cancel();
        }
        break;
      }
      case 'delta':
        if (this._follows(message.seq)) {
          this._after = message.last ?? message.seq;
          this._events.delta(message);
          this._acknowledger.took(this._after);
        }
        break;
      case 'partial':
        if (this._follows(message.seq)) {
          this._after = message.seq;
          this._events.partial(message);
          this._acknowledger.took(this._after);
        }
        break;
      case 'completed':
      case 'incomplete':
      case 'cancelled':
      case 'failed':
        if (this._follows(message.seq)) {
          this.dispose();
          this._events.ended(message);
        }
        break;
      case 'notice':
        this._events.notice(message);
        break;
      case 'error':
        if (message.id === this._id) {
          this._fail(message);
        }
        break;
    }
  }

  /** Whether an event is the one that is due; otherwise the connection is not to be trusted. */
  private _follows(seq: number): boolean {
    if (seq !== this._after + 1) {
      this._lose();
      return false;
    }
    this._backoff.reset();
    return true;
  }

  /** The server refused what this connection is for, or goes on with it no longer. */
  private _fail(error: ServerError): void {
    if (this._stream === null) {
      const wait = this._patience.wait(error);
      if (wait === null) {
        this._refuse(error);
      } else {
        this._drop();
        this._asked = false;
        this._comeBack(wait);
        this._events.waiting(error, wait);
      }
    } else if (isBusy(error)) {
      this._lose(error.retry_after_ms ?? 0);
    } else if (error.field === 'epoch' || error.field === 'after') {
      if (error.code !== 'expired') {
        // What was read is void: the server's stream is another one by now. Read that from its start.
        this._epoch = null;
        this._after = -1;
      } // Else this page lagged too far behind: the snapshot that is asked for has what it missed.
      this._attached = false;
      this._acknowledger.clear();
      this._ask();
    } else {
      this._refuse(error);
    }
  }

  /** Part with the connection and come back with another one, after `atLeast` milliseconds. */
  private _lose(atLeast = 0): void {
    if (this._over) {
      return;
    }
    if (this._since !== null && performance.now() - this._since > 2 * HEARTBEAT_MS) {
      this._backoff.reset();
    }
    this._drop();
    const wait = this._backoff.next(atLeast);
    if (this._asked && this._stream === null) {
      this._refuse(unreachable('The connection was lost before the stream began.'));
    } else if (!this._opened && this._backoff.failures >= FIRST_ATTEMPTS) {
      this._refuse(unreachable('The Jupyter server did not accept a connection to streaminfer/ws.'));
    } else {
      this._comeBack(wait);
      this._events.lost();
    }
  }

  private _comeBack(wait: number): void {
    this._next(wait, () => {
      this._connect();
    });
  }

  /** Notice a connection that died without a word: after a silence ask, and after another one give it up. */
  private _listen(): void {
    this._next(HEARTBEAT_MS, () => {
      this._send({ type: 'ping', id: newId() });
      this._giveUpAfter(HEARTBEAT_MS);
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

  private _refuse(error: ErrorInfo): void {
    const { code, message, retryable } = error;
    this.dispose();
    this._events.refused({ code, message, retryable });
  }

  private _send(message: ClientMessage): void {
    this._socket?.send(JSON.stringify(message));
  }

  private _drop(): void {
    this._attached = false;
    this._since = null;
    this._acknowledger.clear();
    if (this._socket) {
      this._socket.onopen = this._socket.onmessage = this._socket.onclose = null;
      this._socket.close();
      this._socket = null;
    }
  }

  private readonly _backoff = new Backoff();
  private readonly _patience = new Patience();
  private readonly _acknowledger = new Acknowledger(seq => {
    if (this._stream !== null) {
      this._send({ type: 'ack', stream: this._stream, seq });
    }
  });
  private _socket: WebSocket | null = null;
  private _timer = 0;
  private _id = '';
  private _stream: string | null = null;
  private _epoch: string | null = null;
  private _request: Generate | Run | Continue | null = null;
  /** The last `seq` that was told; -1 for none. */
  private _after = -1;
  /** Whether the server ever accepted a connection, and when it accepted this one. */
  private _opened = false;
  private _since: number | null = null;
  /** Whether the request went out and was not refused. */
  private _asked = false;
  private _attached = false;
  private _cancelling = false;
  private _over = false;
}

function unreachable(message: string): ErrorInfo {
  return { code: 'internal', message, retryable: true };
}
