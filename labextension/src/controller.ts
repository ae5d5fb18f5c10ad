import { Meter } from './figures';
import type { Cancelled, Delta, ErrorInfo } from './protocol';
import type { IServer } from './server';
import { isFinal, type ISnapshot } from './snapshot';
import { TokenStreamView } from './tokenStreamView';
import { StreamReader, type IReaderEvents, type Terminal } from './transport';

/** What surrounds a view: an output of JupyterLab, or a widget with a kernel behind it. */
export interface IHost {
  server: IServer | null;
  /** The page reads the stream from the server by itself. */
  attached?(): void;
  /** Stop or retry in another way than through the server. */
  stop?(): void;
  retry?(): void;
  /** The page started a stream of its own, or read a stream to its end: what a saved notebook should hold. */
  changed(snapshot: ISnapshot, started: boolean): void;
}

/** Shows one stream: read from the server where the page reaches it, else as the snapshots that the host has. */
export class TokenStreamController implements IReaderEvents {
  constructor(
    node: HTMLElement,
    private readonly _host: IHost
  ) {
    this._view = new TokenStreamView(node, {
      stop: () => {
        this._stop();
      },
      retry: () => {
        this._retry();
      }
    });
  }

  /** Take what the host knows of its stream. */
  show(snapshot: ISnapshot): void {
    if (this._current === null || snapshot.stream !== this._current.stream) {
      this._start(snapshot);
    } else if (!this._live && !isFinal(this._current.state) && (!this._read || isFinal(snapshot.state))) {
      this._render(snapshot);
      if (isFinal(snapshot.state)) {
        this._reader?.dispose();
      }
    }
  }

  dispose(): void {
    this._reader?.dispose();
    this._view.dispose();
  }

  // What the reader tells.

  attached(stream: string, epoch: string, fresh: boolean): void {
    const started = this._current?.stream !== stream;
    this._live = this._read = true;
    if (fresh) {
      this._meter = new Meter();
      this._fresh = true;
    }
    this._update({ stream, epoch, state: 'streaming', error: null });
    this._view.setState('streaming');
    this._host.attached?.();
    if (started && this._current) {
      this._started = true;
      this._host.changed(this._current, true);
    }
  }

  delta(delta: Delta): void {
    this._meter.add(delta);
    if (this._fresh) {
      this._fresh = false;
      this._update({ text: delta.text });
      this._view.setText(delta.text);
    } else {
      this._update({ text: (this._current?.text ?? '') + delta.text });
      this._view.append(delta.text);
    }
    this._view.setFigures(this._meter.figures());
  }

  ended(event: Terminal): void {
    if (this._fresh) {
      this._fresh = false;
      this._update({ text: '' });
      this._view.setText('');
    }
    this._live = false;
    const error = whatWentWrong(event);
    this._update({ state: event.type, error, figures: this._meter.figures(event) });
    this._view.setFigures(this._current?.figures ?? null);
    this._view.setState(event.type, error);
    if (this._current) {
      this._host.changed(this._current, this._started);
    }
  }

  refused(error: ErrorInfo): void {
    this._live = false;
    if (this._retrying) {
      this._update({ state: 'failed', error });
      this._view.setState('failed', error);
    } else if (!this._host.retry) {
      const gone = error.code === 'stream_not_found';
      const message = gone ? 'The server no longer has this stream. This is the text that was saved.' : error.message;
      this._view.setState('disconnected', { ...error, message });
    } else if (this._current) {
      this._read = false;
      this._render(this._current);
    }
  }

  lost(): void {
    this._live = false;
    this._view.setState(this._read ? 'disconnected' : 'connecting');
  }

  private _start(snapshot: ISnapshot): void {
    this._reader?.dispose();
    this._live = this._read = this._started = this._retrying = false;
    this._render(snapshot);
    if (!isFinal(snapshot.state) && snapshot.stream !== null && this._host.server) {
      this._view.setState('connecting');
      this._reader = new StreamReader(this._host.server, this);
      this._reader.attach(snapshot.stream, snapshot.epoch);
    }
  }

  private _stop(): void {
    this._reader?.cancel();
    if (!this._live) {
      this._host.stop?.();
    }
  }

  private _retry(): void {
    const request = this._current?.request;
    if (!this._host.server || !request) {
      this._host.retry?.();
      return;
    }
    this._reader?.dispose();
    this._retrying = true;
    this._update({ state: 'connecting', text: '', error: null, figures: null });
    this._view.setText('');
    this._view.setFigures(null);
    this._view.setState('connecting');
    this._reader = new StreamReader(this._host.server, this);
    this._reader.generate(request);
  }

  private _render(snapshot: ISnapshot): void {
    this._current = snapshot;
    this._view.setPrompt(snapshot.request?.prompt ?? '');
    this._view.setText(snapshot.text);
    this._view.setFigures(snapshot.figures);
    this._view.setState(snapshot.state, snapshot.error);
    this._view.setRetryable(
      this._host.retry !== undefined || (snapshot.request !== null && this._host.server !== null)
    );
  }

  private _update(change: Partial<ISnapshot>): void {
    if (this._current) {
      this._current = { ...this._current, ...change };
    }
  }

  private readonly _view: TokenStreamView;
  private _reader: StreamReader | null = null;
  private _current: ISnapshot | null = null;
  private _meter = new Meter();
  /** Whether the reader is attached now, and whether it ever was. */
  private _live = false;
  private _read = false;
  private _fresh = false;
  /** Whether the page asked for a stream of its own, and whether it got one. */
  private _retrying = false;
  private _started = false;
}

const CANCELLED: Record<Cancelled['reason'], string> = {
  client: '',
  abandoned: 'The stream was cancelled: nobody read it for too long.',
  unload: 'The stream was cancelled: its model was unloaded.',
  shutdown: 'The stream was cancelled: the server was stopped.'
};

/** Why a stream did not end in order; a reader's own Stop is no error. */
function whatWentWrong(event: Terminal): ErrorInfo | null {
  if (event.type === 'failed') {
    return event.error;
  }
  const message = event.type === 'cancelled' ? CANCELLED[event.reason] : '';
  return message ? { code: 'cancelled', message } : null;
}
