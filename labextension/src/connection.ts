import { Backoff } from './patience';
import type { ClientMessage, ServerMessage } from './protocol';
import { newId, streamAddress, type IServer } from './server';

/** A server that never once accepted the connection is asked this often. */
const FIRST_ATTEMPTS = 6;
/** The server must accept a connection within this time. */
const ACCEPT_MS = 15_000;

export interface IConnectionEvents {
  /** The server accepted a connection, on which nothing was said yet. */
  opened(): void;
  received(message: ServerMessage): void;
  /** The connection ended by itself, or nothing came on it: whoever wants another one says so. */
  lost(): void;
}

/**
 * The native WebSocket, made anew as often as its owner asks.
 *
 * A connection that died without a word is noticed: after `silenceMs` without a message the server is asked
 * whether it lives, and after another such time it is given up.
 */
export class Connection {
  constructor(
    private readonly _server: IServer,
    private readonly _silenceMs: number,
    private readonly _events: IConnectionEvents
  ) {}

  open(): void {
    const socket = new WebSocket(streamAddress(this._server));
    this._socket = socket;
    this._giveUpAfter(ACCEPT_MS);
    socket.onopen = () => {
      this._accepted = true;
      this._since = performance.now();
      this._listen();
      this._events.opened();
    };
    socket.onmessage = (message: MessageEvent<string>) => {
      this._listen();
      this._events.received(JSON.parse(message.data) as ServerMessage);
    };
    socket.onclose = () => {
      this._events.lost();
    };
  }

  /** Part with this connection, and open another one after a wait that grows each time; false to try no more. */
  reopen(atLeastMs = 0): boolean {
    if (this._since !== null && performance.now() - this._since > 2 * this._silenceMs) {
      this._backoff.reset();
    }
    const wait = this._backoff.next(atLeastMs);
    if (!this._accepted && this._backoff.failures >= FIRST_ATTEMPTS) {
      this.close();
      return false;
    }
    this.openAfter(wait);
    return true;
  }

  /** Part with this connection, and open another one after exactly this time. */
  openAfter(ms: number): void {
    this.close();
    this._next(ms, () => {
      this._timer = 0;
      this.open();
    });
  }

  /** What the connection is for works: the next one may be opened soon. */
  works(): void {
    this._backoff.reset();
  }

  /** Say something, where the connection is open; nothing is kept for later. */
  send(message: ClientMessage): void {
    if (this.isOpen) {
      this._socket?.send(JSON.stringify(message));
    }
  }

  /** Part with the connection, or with the plan to open one. */
  close(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
    this._since = null;
    if (this._socket) {
      this._socket.onopen = this._socket.onmessage = this._socket.onclose = null;
      this._socket.close();
      this._socket = null;
    }
  }

  get isOpen(): boolean {
    return this._socket?.readyState === WebSocket.OPEN;
  }

  /** Whether there is no connection, and none is about to be. */
  get isClosed(): boolean {
    return this._socket === null && this._timer === 0;
  }

  /** Whether the server ever accepted a connection. */
  get accepted(): boolean {
    return this._accepted;
  }

  private _listen(): void {
    this._next(this._silenceMs, () => {
      this.send({ type: 'ping', id: newId() });
      this._giveUpAfter(this._silenceMs);
    });
  }

  private _giveUpAfter(ms: number): void {
    this._next(ms, () => {
      this._events.lost();
    });
  }

  /** Do this next, unless something else is to be done before. */
  private _next(ms: number, action: () => void): void {
    window.clearTimeout(this._timer);
    this._timer = window.setTimeout(action, ms);
  }

  private readonly _backoff = new Backoff();
  private _socket: WebSocket | null = null;
  private _timer = 0;
  private _accepted = false;
  /** When the server accepted this connection. */
  private _since: number | null = null;
}
