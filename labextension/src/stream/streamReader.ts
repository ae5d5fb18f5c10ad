import { Connection } from '../connection';
import { isBusy, Patience } from '../patience';
import type { Continue, Error as ServerError, ErrorInfo, Generate, Run, ServerMessage } from '../protocol';
import { newId, type IServer } from '../server';
import { Acknowledger } from './acknowledger';
import type { IReaderEvents } from './events';

const SILENCE_MS = 15_000;

/**
 * Reads one stream over the native WebSocket, and comes back after a lost connection.
 *
 * It asks for everything after the last `seq` that it has, so nothing is lost and nothing repeated; an event
 * that does not follow its predecessor means that this connection is not to be trusted, and a new one is made.
 */
export class StreamReader {
  constructor(
    server: IServer,
    private readonly _events: IReaderEvents
  ) {
    this._connection = new Connection(server, SILENCE_MS, {
      opened: () => {
        this._ask();
      },
      received: message => {
        this._receive(message);
      },
      lost: () => {
        this._lose();
      }
    });
  }

  /** Read a stream from its start. */
  attach(stream: string, epoch: string | null): void {
    this._stream = stream;
    this._epoch = epoch;
    this._connection.open();
  }

  /** Start a stream and read it. */
  start(request: Generate | Run | Continue): void {
    this._request = request;
    this._connection.open();
  }

  /** End the stream, now or as soon as the connection is back. */
  cancel(): void {
    this._cancelling = true;
    if (this._attached && this._stream !== null) {
      this._connection.send({ type: 'cancel', id: newId(), stream: this._stream });
    } else if (this._stream === null && !this._asked) {
      this.dispose();
      this._events.withdrawn();
    }
  }

  dispose(): void {
    this._over = true;
    this._part();
    this._connection.close();
  }

  /** Send the request that this connection is for. */
  private _ask(): void {
    const id = (this._id = newId());
    if (this._stream !== null) {
      const [stream, epoch, after] = [this._stream, this._epoch, this._after];
      this._connection.send({ type: 'attach', id, stream, epoch, after, snapshot: true });
    } else if (this._request) {
      this._asked = true;
      this._connection.send({ ...this._request, id });
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
    this._connection.works();
    return true;
  }

  /** The server refused what this connection is for, or goes on with it no longer. */
  private _fail(error: ServerError): void {
    if (this._stream === null) {
      const wait = this._patience.wait(error);
      if (wait === null) {
        this._refuse(error);
      } else {
        this._part();
        this._asked = false;
        this._connection.openAfter(wait);
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
    this._part();
    if (this._asked && this._stream === null) {
      this._refuse(unreachable('The connection was lost before the stream began.'));
    } else if (this._connection.reopen(atLeast)) {
      this._events.lost();
    } else {
      this._refuse(unreachable('The Jupyter server did not accept a connection to streaminfer/ws.'));
    }
  }

  /** Whatever was agreed on this connection holds no longer. */
  private _part(): void {
    this._attached = false;
    this._acknowledger.clear();
  }

  private _refuse(error: ErrorInfo): void {
    const { code, message, retryable } = error;
    this.dispose();
    this._events.refused({ code, message, retryable });
  }

  private readonly _connection: Connection;
  private readonly _patience = new Patience();
  private readonly _acknowledger = new Acknowledger(seq => {
    if (this._stream !== null) {
      this._connection.send({ type: 'ack', stream: this._stream, seq });
    }
  });
  private _id = '';
  private _stream: string | null = null;
  private _epoch: string | null = null;
  private _request: Generate | Run | Continue | null = null;
  /** The last `seq` that was told; -1 for none. */
  private _after = -1;
  /** Whether the request went out and was not refused. */
  private _asked = false;
  private _attached = false;
  private _cancelling = false;
  private _over = false;
}

function unreachable(message: string): ErrorInfo {
  return { code: 'internal', message, retryable: true };
}
