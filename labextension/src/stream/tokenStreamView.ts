import type { ErrorInfo } from '../protocol';
import { element, flatButton } from '../view';
import { Alternatives } from './alternatives';
import { Announcer } from './announcer';
import type { IToken } from './confidence';
import { describe } from './figures';
import { ModeSwitch } from './modeSwitch';
import { ProgressBar } from './progressBar';
import { isFinal, type IFigures, type IProgress, type StreamState } from './snapshot';
import type { TextMode } from './textBody';
import { TextPane } from './textPane';
import { TimingsLine } from './timingsLine';

export interface IViewActions {
  stop(): void;
  retry(): void;
  continue(): void;
}

/** What is offered once a stream has ended: to begin again, or to go on where it stopped. */
export type Offer = 'retry' | 'continue';

const OFFERS: Record<Offer, string> = { retry: 'Retry', continue: 'Continue' };

const LABELS: Record<StreamState, string> = {
  connecting: 'Connecting…',
  streaming: 'Streaming',
  completed: 'Completed',
  incomplete: 'Stopped at its deadline',
  cancelled: 'Stopped',
  failed: 'Failed',
  disconnected: 'Disconnected'
};
const COPIED_MS = 1500;

/**
 * A token stream on the page. Framework-free.
 *
 * Text reaches the page as text nodes only: a model's output is hostile text, and this is the Jupyter origin.
 * However fast it comes, the page is touched once an animation frame.
 */
export class TokenStreamView {
  constructor(parent: HTMLElement, actions: IViewActions) {
    this._error.setAttribute('role', 'alert');
    this._state.setAttribute('role', 'status');
    this._notice.setAttribute('role', 'status');
    this._stop = flatButton('Stop', 'jp-mod-stop', () => {
      this._stopping = true;
      this._changed();
      actions.stop();
    });
    this._again = flatButton(OFFERS.retry, 'jp-mod-go', () => {
      if (this._offer) {
        actions[this._offer]();
      }
    });
    this._copy = flatButton('Copy', '', () => {
      void this._copyText();
    });
    const bar = element('div', 'jp-Streaminfer-bar');
    const buttons = element('div', 'jp-Streaminfer-buttons');
    buttons.append(this._modes.node, this._timings.button, this._stop, this._again, this._copy);
    bar.append(this._state, this._figures, this._notice, buttons);
    this._root.append(
      this._pane.node,
      this._alternatives.node,
      this._progressBar.node,
      this._error,
      bar,
      this._timings.node,
      this._announcer.node
    );
    parent.append(this._root);
    this._draw();
  }

  /** Show, muted and apart from the text, the end of what the text continues. */
  setPrompt(prompt: string): void {
    this._pane.setPrompt(prompt);
    this._changed();
  }

  /** How the text is shown as long as nobody chooses otherwise. */
  setMode(mode: TextMode): void {
    if (!this._chosen) {
      this._pane.setMode(mode);
      this._changed();
    }
  }

  /** Show another text, of whose beginning some tokens may be known. */
  setText(text: string, tokens: readonly IToken[] | null = null): void {
    this._pane.setText(text, tokens);
    this._changed();
  }

  /** Show more of the text, whose tokens these are. */
  append(text: string, tokens: readonly IToken[] = []): void {
    this._pane.append(text, tokens);
    this._changed();
  }

  /** The tokens of the text as far as they are known. */
  get tokens(): readonly IToken[] {
    return this._pane.tokens;
  }

  /**
   * Say where the stream stands; an error is shown beneath the text that came before it.
   * `disconnected` without an error is on its way back; with one it is over.
   */
  setState(state: StreamState, error: ErrorInfo | null = null): void {
    const ran = this.running;
    this._current = state;
    this._message = error?.message ?? '';
    this._stopping &&= this.running;
    if (this.running && !ran) {
      this._pane.follow(); // It goes on: what comes is at the end.
    }
    this._ended ||= this._seen && ran && isFinal(state);
    this._seen ||= state === 'streaming';
    this._changed();
  }

  setFigures(figures: IFigures | null): void {
    this._measured = figures;
    this._changed();
  }

  /** Say how far a run is; shown until it completed. */
  setProgress(progress: IProgress | null): void {
    this._progress = progress;
    this._changed();
  }

  /** Say, beside the figures, what is not as usual; `detail` is shown to whoever points at it. */
  setNotice(words: string, detail: string): void {
    this._words = words;
    this._detail = detail;
    this._changed();
  }

  /** What is offered once the stream has ended, if anything. */
  setOffer(offer: Offer | null): void {
    this._offer = offer;
    this._changed();
  }

  /** Whether something may still come. */
  get running(): boolean {
    return !isFinal(this._current) && !(this._current === 'disconnected' && this._message);
  }

  /** Put the keyboard where the text is. */
  focus(): void {
    this._pane.node.focus();
  }

  dispose(): void {
    cancelAnimationFrame(this._frame);
    this._root.remove();
  }

  private _changed(): void {
    this._frame ||= requestAnimationFrame(() => {
      this._draw();
    });
  }

  private _draw(): void {
    this._frame = 0;
    const running = this.running;
    const more = this._pane.draw(running);
    // A button that vanishes under the keyboard would drop the focus to the top of the page.
    const focused = document.activeElement;
    this._root.dataset.state = this._current;
    this._state.textContent = this._label();
    this._figures.textContent = this._measured ? describe(this._measured) : '';
    this._figures.hidden = !this._measured;
    this._timings.show(this._measured);
    this._progressBar.show(this._current === 'completed' ? null : this._progress);
    this._modes.show(this._pane.mode, this._pane.tokens.length > 0);
    this._alternatives.node.hidden = this._pane.mode !== 'tokens';
    this._notice.textContent = this._words;
    this._notice.title = this._detail;
    this._notice.hidden = this._words === '';
    this._error.textContent = this._message;
    this._error.hidden = this._message === '';
    this._error.classList.toggle('jp-mod-note', this._current !== 'failed');
    this._stop.disabled = this._stopping;
    this._stop.hidden = !running;
    this._again.hidden = running || !this._offer;
    this._again.textContent = OFFERS[this._offer ?? 'retry'];
    this._copy.disabled = this._pane.whole === '';
    if (focused instanceof HTMLElement && focused.hidden && this._root.contains(focused)) {
      (this._again.hidden ? this._pane.node : this._again).focus({ preventScroll: true });
    }
    if (this._ended) {
      this._ended = this._seen = false;
      this._announcer.say(this._pane.whole);
    }
    if (more) {
      this._changed();
    }
  }

  private _label(): string {
    if (this._stopping) {
      return 'Stopping…';
    }
    return this._current === 'disconnected' && this.running ? 'Reconnecting…' : LABELS[this._current];
  }

  private async _copyText(): Promise<void> {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this._pane.whole);
    } catch {
      copied = false; // The page is not served over https, or may not use the clipboard: leave it to the reader.
      getSelection()?.selectAllChildren(this._pane.node);
    }
    this._copy.textContent = copied ? 'Copied' : 'Selected';
    window.setTimeout(() => {
      this._copy.textContent = 'Copy';
    }, COPIED_MS);
  }

  private readonly _root = element('div', 'jp-Streaminfer jp-Streaminfer-frame jp-TokenStream');
  private readonly _alternatives = new Alternatives();
  private readonly _pane = new TextPane(token => {
    this._alternatives.show(token);
  });
  private readonly _progressBar = new ProgressBar();
  private readonly _error = element('div', 'jp-Streaminfer-error jp-TokenStream-error');
  private readonly _state = element('span', 'jp-Streaminfer-state jp-TokenStream-state');
  private readonly _figures = element('span', 'jp-TokenStream-figures');
  private readonly _notice = element('span', 'jp-TokenStream-notice');
  private readonly _timings = new TimingsLine();
  private readonly _modes = new ModeSwitch(mode => {
    this._chosen = true;
    this._pane.setMode(mode);
    this._changed();
  });
  private readonly _announcer = new Announcer();
  private readonly _stop: HTMLButtonElement;
  private readonly _again: HTMLButtonElement;
  private readonly _copy: HTMLButtonElement;
  private _frame = 0;
  /** Whether the reader chose how the text is shown. */
  private _chosen = false;
  /** Whether the stream was seen running, and whether it ended since. */
  private _seen = false;
  private _ended = false;
  private _current: StreamState = 'connecting';
  private _stopping = false;
  private _message = '';
  private _measured: IFigures | null = null;
  private _progress: IProgress | null = null;
  private _words = '';
  private _detail = '';
  private _offer: Offer | null = null;
}
