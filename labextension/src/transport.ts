import type { AnyRequest, Cancelled, Completed, Delta, ErrorInfo, Failed, Generate, ServerMessage } from './protocol';
import { streamAddress, type IServer } from './server';

export type Terminal = Completed | Cancelled | Failed;

/** What a reader tells, in the order of the stream's log: every event once. */
export interface IReaderEvents {
  /** The server has the stream; `fresh`: it is read from its start, and what was told before is void. */
  attached(stream: string, epoch: string, fresh: boolean): void;
  delta(delta: Delta): void;
  /** The terminal event. Nothing follows. */
  ended(event: Terminal): void;
  /** The server said no, or could never be reached. Nothing follows. */
  refused(error: ErrorInfo): void;
  /** The connection is gone; the reader is on its way back. */
  lost(): void;
}

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 15_000;
/** A server that never once accepted the connection is asked this often. */
const FIRST_ATTEMPTS = 6;
const SILENCE_MS = 20_000;
const PONG_MS = 10_000;

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
  generate(request: Generate): void {
    this._request = request;
    this._connect();
  }

  /** End the stream, now or as soon as the connection is back. */
  cancel(): void {
    this._cancelling = true;
    if (this._attached && this._stream !== null) {
      this._send({ type: 'cancel', id: newId(), stream: this._stream });
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
    socket.onopen = () => {
      this._opened = true;
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
      this._send({ type: 'attach', id, stream: this._stream, epoch: this._epoch, after: this._after });
    } else if (this._request) {
      this._asked = true;
      this._send({ ...this._request, id });
    }
  }

  private _receive(message: ServerMessage): void {
    switch (message.type) {
      case 'attached':
        this._stream = message.stream;
        this._epoch = message.epoch;
        this._attached = true;
        this._failures = 0;
        this._events.attached(message.stream, message.epoch, this._after < 0);
        if (this._cancelling) {
          this.cancel();
        }
        break;
      case 'delta':
        if (message.seq !== this._after + 1) {
          this._lose();
          break;
        }
        this._after = message.last ?? message.seq;
        this._events.delta(message);
        break;
      case 'completed':
      case 'cancelled':
      case 'failed':
        if (message.seq !== this._after + 1) {
          this._lose();
          break;
        }
        this.dispose();
        this._events.ended(message);
        break;
      case 'error':
        if (message.id !== this._id) {
          break;
        }
        if (this._stream !== null && (message.field === 'epoch' || message.field === 'after')) {
          // What was read is void: the server's stream is another one by now. Read that from its start.
          this._epoch = null;
          this._after = -1;
          this._ask();
          break;
        }
        this._refuse({ code: message.code, message: message.message, retryable: message.retryable });
        break;
      case 'ok':
      case 'pong':
      case 'result':
        break;
    }
  }

  /** Come back later: after 250 ms, doubled each time up to 15 s, and less a random part so that pages spread. */
  private _lose(): void {
    if (this._over) {
      return;
    }
    this._drop();
    window.clearTimeout(this._timer);
    this._failures += 1;
    if (this._asked && this._stream === null) {
      this._refuse(unreachable('The connection was lost before the stream began.'));
      return;
    }
    if (!this._opened && this._failures >= FIRST_ATTEMPTS) {
      this._refuse(unreachable('The Jupyter server did not accept a connection to streaminfer/ws.'));
      return;
    }
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** (this._failures - 1));
    this._timer = window.setTimeout(
      () => {
        this._connect();
      },
      delay * (0.5 + Math.random() / 2)
    );
    this._events.lost();
  }

  /** Notice a connection that died without a word: after a silence ask, and after another one give it up. */
  private _listen(): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(() => {
      this._send({ type: 'ping', id: newId() });
      this._timer = window.setTimeout(() => {
        this._lose();
      }, PONG_MS);
    }, SILENCE_MS);
  }

  private _refuse(error: ErrorInfo): void {
    this.dispose();
    this._events.refused(error);
  }

  private _send(message: AnyRequest): void {
    this._socket?.send(JSON.stringify(message));
  }

  private _drop(): void {
    this._attached = false;
    if (this._socket) {
      this._socket.onopen = this._socket.onmessage = this._socket.onclose = null;
      this._socket.close();
      this._socket = null;
    }
  }

  private _socket: WebSocket | null = null;
  private _timer = 0;
  private _id = '';
  private _stream: string | null = null;
  private _epoch: string | null = null;
  private _request: Generate | null = null;
  private _after = -1;
  private _failures = 0;
  private _opened = false;
  private _asked = false;
  private _attached = false;
  private _cancelling = false;
  private _over = false;
}

function unreachable(message: string): ErrorInfo {
  return { code: 'internal', message, retryable: true };
}

function newId(): string {
  return Math.random().toString(36).slice(2);
}
