import { keptTokens, tokensOf, type IToken } from './confidence';
import { whatWentWrong } from './ending';
import type { IReaderEvents, Terminal } from './events';
import { Meter } from './figures';
import { Notices } from './notices';
import type { Continue, Delta, ErrorInfo, Generate, Notice, Partial as Value, Run, Snapshot } from '../protocol';
import type { IServer } from '../server';
import { canContinue, isFinal, type ISnapshot, type StreamState } from './snapshot';
import type { TextMode } from './textBody';
import { TokenStreamView, type Offer } from './tokenStreamView';
import { StreamReader } from './streamReader';
import { beginningOf, lineOf, progressOf } from './values';

/** What surrounds a view: an output of JupyterLab, or a widget with a kernel behind it. */
export interface IHost {
  server: IServer | null;
  /** The page reads the stream from the server by itself. */
  attached?(): void;
  /** Stop, retry or continue in another way than through the server. */
  stop?(): void;
  retry?(): void;
  continue?(): void;
  /** The page started a stream of its own, or read a stream to its end: what a saved notebook should hold. */
  changed(snapshot: ISnapshot, started: boolean): void;
  /** The stream stands otherwise than before, or its figures do at its end. */
  said?(): void;
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
      },
      continue: () => {
        this._continue();
      }
    });
    this._notices = new Notices((words, detail) => {
      this._view.setNotice(words, detail);
    });
  }

  /** Take what the host knows of its stream. */
  show(snapshot: ISnapshot): void {
    if (this._current && this.replaced(snapshot.stream)) {
      // A busy kernel says late how a stream ended in whose place the page has had another begun since.
      if (!this.replaced(this._current.stream)) {
        this._host.changed(this._current, true);
      }
    } else if (this._current === null || snapshot.stream !== this._current.stream) {
      this._start(snapshot);
    } else if (!this._live && !isFinal(this._current.state) && (!this._read || isFinal(snapshot.state))) {
      this._render(snapshot);
      if (isFinal(snapshot.state)) {
        this._reader?.dispose();
        this._notices.clear();
      }
    }
  }

  /** Start a stream of the page's own, where it reaches the server, in place of what is shown. */
  start(request: Generate | Run): void {
    this._reader?.dispose();
    this._render({ ...NOTHING, request });
    if (this._host.server) {
      this._ask(this._host.server, request, null);
    }
  }

  /** What is shown, as a notebook would keep it; null before there is anything. */
  get snapshot(): ISnapshot | null {
    return this._current;
  }

  /** Whether something may still come. */
  get running(): boolean {
    return this._view.running;
  }

  /** End the stream, if it is running. */
  stop(): void {
    if (this.running) {
      this._stop();
    }
  }

  /** Whether to offer to begin again, or to go on. */
  setOffers(on: boolean): void {
    this._offers = on;
    this._view.setOffer(this._offer());
  }

  /** Whether the page asked for another stream in place of this one. */
  replaced(stream: string | null): boolean {
    return this._replaced.has(stream);
  }

  /** Put the keyboard where the text is. */
  focus(): void {
    this._view.focus();
  }

  dispose(): void {
    this._reader?.dispose();
    this._notices.clear();
    this._view.dispose();
  }

  // What the reader tells.

  attached(stream: string, epoch: string, beginning: Snapshot | null): void {
    const started = this._current?.stream !== stream;
    this._live = this._read = true;
    this._notices.clear();
    if (started) {
      this._update({ begun: this._asked?.begun ?? null, resumable: false });
    }
    if (beginning) {
      const begun = this._current?.begun;
      this._meter = new Meter(begun?.tokens, beginning.tokens);
      this._beginning = (begun?.text ?? '') + beginningOf(beginning);
    }
    this._update({ stream, epoch });
    this._say('streaming');
    this._host.attached?.();
    if (started && this._current) {
      this._started = true;
      this._host.changed(this._current, true);
    }
  }

  delta(delta: Delta): void {
    this._begin();
    this._add(delta.text, delta.at_ms, delta.logprobs ? tokensOf(delta) : []);
  }

  partial(partial: Value): void {
    this._begin();
    const progress = progressOf(partial.value);
    if (progress) {
      this._update({ progress });
      this._view.setProgress(progress);
    }
    this._add(lineOf(partial.value, this._current?.text ?? ''), [partial.at_ms]);
  }

  notice(notice: Notice): void {
    this._notices.notice(notice);
  }

  ended(event: Terminal): void {
    this._begin();
    this._live = false;
    this._asked = null;
    this._notices.clear();
    this._update({
      figures: this._meter.figures(event),
      resumable: event.type === 'failed' && !!event.resumable,
      tokens: keptTokens(this._view.tokens)
    });
    this._view.setFigures(this._current?.figures ?? null);
    this._say(event.type, whatWentWrong(event));
    if (this._current) {
      this._host.changed(this._current, this._started);
    }
  }

  refused(error: ErrorInfo): void {
    const asked = this._asked;
    this._live = false;
    this._asked = null;
    this._notices.clear();
    if (asked) {
      // Where the server was only busy or out of reach, what could be continued before still can be.
      this._update({ resumable: asked.begun !== null && error.retryable === true });
      this._say('failed', error);
    } else if (!this._host.retry) {
      const gone = error.code === 'stream_not_found';
      const message = gone ? 'The server no longer has this stream. This is the text that was saved.' : error.message;
      this._view.setState('disconnected', { ...error, message });
    } else if (this._current) {
      this._read = false;
      this._render(this._current);
    }
  }

  waiting(error: ErrorInfo, ms: number): void {
    this._notices.refused(error, ms);
  }

  withdrawn(): void {
    this._notices.clear();
    if (this._asked) {
      this._replaced.delete(this._asked.before.stream);
      this._render(this._asked.before);
      this._asked = null;
    }
  }

  lost(): void {
    this._live = false;
    this._notices.clear();
    this._view.setState(this._read ? 'disconnected' : 'connecting');
  }

  private _add(text: string, times: readonly number[], tokens: readonly IToken[] = []): void {
    this._meter.add(times);
    this._update({ text: (this._current?.text ?? '') + text });
    this._view.append(text, tokens);
    this._view.setFigures(this._meter.figures());
    this._notices.delta();
  }

  private _start(snapshot: ISnapshot): void {
    this._reader?.dispose();
    this._notices.clear();
    this._live = this._read = this._started = false;
    this._asked = this._beginning = null;
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
    if (this._host.server && request) {
      this._ask(this._host.server, request, null);
      this._update({ text: '', figures: null, progress: null, tokens: null });
      this._view.setText('');
      this._view.setFigures(null);
      this._view.setProgress(null);
    } else {
      this._host.retry?.();
    }
  }

  private _continue(): void {
    const { stream, text, figures } = this._current ?? {};
    if (this._host.server && stream) {
      const begun = { text: text ?? '', tokens: figures?.tokens ?? 0 };
      this._ask(this._host.server, { type: 'continue', id: '', stream }, begun);
    } else {
      this._host.continue?.();
    }
  }

  /** Start a stream of the page's own, which comes after what has `begun`, if anything. */
  private _ask(server: IServer, request: Generate | Run | Continue, begun: Snapshot | null): void {
    if (this._current) {
      this._asked = { before: this._current, begun };
      if (this._current.stream) {
        this._replaced.add(this._current.stream);
      }
      this._reader?.dispose();
      this._live = this._read = false;
      this._beginning = null;
      this._say('connecting');
      this._reader = new StreamReader(server, this);
      this._reader.start(request);
    }
  }

  /** Show the stream's beginning, not before more of it is there: a page that was reloaded has its text meanwhile. */
  private _begin(): void {
    if (this._beginning !== null && this._beginning !== this._current?.text) {
      this._update({ text: this._beginning });
      this._view.setText(this._beginning);
    }
    this._beginning = null;
  }

  private _render(snapshot: ISnapshot): void {
    this._current = snapshot;
    this._view.setPrompt((snapshot.request?.type === 'generate' && snapshot.request.prompt) || '');
    this._view.setMode(defaultMode(snapshot));
    this._view.setText(snapshot.text, snapshot.tokens ?? null);
    this._view.setFigures(snapshot.figures);
    this._view.setProgress(snapshot.progress);
    this._say(snapshot.state, snapshot.error);
  }

  private _say(state: StreamState, error: ErrorInfo | null = null): void {
    this._update({ state, error });
    this._view.setState(state, error);
    this._view.setOffer(this._offer());
    this._host.said?.();
  }

  private _offer(): Offer | null {
    const direct = this._host.server !== null;
    if (!this._offers) {
      return null;
    }
    if (this._current && canContinue(this._current) && (direct || this._host.continue !== undefined)) {
      return 'continue';
    }
    return this._host.retry !== undefined || (direct && this._current?.request) ? 'retry' : null;
  }

  private _update(change: Partial<ISnapshot>): void {
    if (this._current) {
      this._current = { ...this._current, ...change };
    }
  }

  private readonly _view: TokenStreamView;
  private readonly _notices: Notices;
  private _reader: StreamReader | null = null;
  private _current: ISnapshot | null = null;
  private _meter = new Meter();
  /** Whether the reader is attached now, and whether it ever was. */
  private _live = false;
  private _read = false;
  /** The text that the next delta follows, where that is not what is shown. */
  private _beginning: string | null = null;
  /** What was shown when the page asked for a stream of its own, and what that stream comes after. */
  private _asked: { before: ISnapshot; begun: Snapshot | null } | null = null;
  /** The streams that the page asked for others in place of. */
  private readonly _replaced = new Set<string | null>();
  /** Whether the page got a stream of its own. */
  private _started = false;
  private _offers = true;
}

const NOTHING: ISnapshot = {
  stream: null,
  epoch: null,
  request: null,
  begun: null,
  text: '',
  state: 'connecting',
  figures: null,
  error: null,
  progress: null,
  resumable: false,
  tokens: null
};

/** An answer in a conversation is Markdown; where it was asked how likely tokens are, that is what is shown. */
function defaultMode({ request }: ISnapshot): TextMode {
  if (request?.type !== 'generate') {
    return 'plain';
  }
  return request.messages ? 'markdown' : typeof request.logprobs === 'number' ? 'tokens' : 'plain';
}
