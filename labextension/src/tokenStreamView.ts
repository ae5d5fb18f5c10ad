import { describe } from './figures';
import type { ErrorInfo } from './protocol';
import { isFinal, type IFigures, type IProgress, type StreamState } from './snapshot';

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
const PROMPT_CHARACTERS = 400;

/**
 * A token stream on the page. Framework-free.
 *
 * Text reaches the page as text nodes only: a model's output is hostile text, and this is the Jupyter origin.
 * However fast it comes, the page is touched once an animation frame.
 */
export class TokenStreamView {
  constructor(parent: HTMLElement, actions: IViewActions) {
    this._root = element('div', 'jp-TokenStream');
    this._text = element('div', 'jp-TokenStream-text');
    this._text.tabIndex = 0;
    this._text.setAttribute('role', 'log');
    this._text.setAttribute('aria-label', 'Model output');
    this._text.setAttribute('aria-live', 'polite');
    this._text.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = this._text;
      this._following = scrollHeight - scrollTop - clientHeight < 8;
    });
    this._bar = element('div', 'jp-TokenStream-progress');
    this._bar.setAttribute('role', 'progressbar');
    this._bar.setAttribute('aria-label', 'Progress');
    this._bar.setAttribute('aria-valuemin', '0');
    this._bar.setAttribute('aria-valuemax', '100');
    this._filled = element('div', 'jp-TokenStream-filled');
    this._step = element('div', 'jp-TokenStream-step');
    this._bar.append(this._filled, this._step);
    this._error = element('div', 'jp-TokenStream-error');
    this._error.setAttribute('role', 'alert');
    this._state = element('span', 'jp-TokenStream-state');
    this._state.setAttribute('role', 'status');
    this._figures = element('span', 'jp-TokenStream-figures');
    this._notice = element('span', 'jp-TokenStream-notice');
    this._notice.setAttribute('role', 'status');
    this._stop = button('Stop', 'jp-TokenStream-stop', () => {
      this._stopping = true;
      this._changed();
      actions.stop();
    });
    this._again = button(OFFERS.retry, 'jp-TokenStream-again', () => {
      if (this._offer) {
        actions[this._offer]();
      }
    });
    this._copy = button('Copy', 'jp-TokenStream-copy', () => {
      void this._copyText();
    });
    const bar = element('div', 'jp-TokenStream-bar');
    const buttons = element('div', 'jp-TokenStream-buttons');
    buttons.append(this._stop, this._again, this._copy);
    bar.append(this._state, this._figures, this._notice, buttons);
    this._root.append(this._text, this._bar, this._error, bar);
    parent.append(this._root);
    this._draw();
  }

  /** Show, muted and apart from the text, the end of what the text continues. */
  setPrompt(prompt: string): void {
    const shown = prompt.length > PROMPT_CHARACTERS ? `…${prompt.slice(-PROMPT_CHARACTERS)}` : prompt;
    // The style sheet draws it, so that it is neither selected nor copied nor taken for the text.
    this._text.dataset.prompt = shown;
  }

  /** Show another text. */
  setText(text: string): void {
    this._whole = this._pending = text;
    this._replacing = true;
    this._changed();
  }

  /** Show more of the text. */
  append(text: string): void {
    this._whole += text;
    this._pending += text;
    this._changed();
  }

  /**
   * Say where the stream stands; an error is shown beneath the text that came before it.
   * `disconnected` without an error is on its way back; with one it is over.
   */
  setState(state: StreamState, error: ErrorInfo | null = null): void {
    const ran = this._running();
    this._current = state;
    this._message = error?.message ?? '';
    this._stopping &&= this._running();
    this._following ||= this._running() && !ran; // It goes on: what comes is at the end.
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
    if (this._replacing) {
      this._text.textContent = '';
      this._replacing = false;
      // What has ended is read from its start, what goes on at its end.
      this._following = this._running();
    }
    if (this._pending) {
      this._text.append(document.createTextNode(this._pending));
      this._pending = '';
      if (this._following) {
        this._text.scrollTop = this._text.scrollHeight;
      }
    }
    const running = this._running();
    // A button that vanishes under the keyboard would drop the focus to the top of the page.
    const focused = document.activeElement;
    this._root.dataset.state = this._current;
    this._state.textContent = this._label();
    this._figures.textContent = this._measured ? describe(this._measured) : '';
    this._figures.hidden = !this._measured;
    this._drawProgress();
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
    this._copy.disabled = this._whole === '';
    if (focused instanceof HTMLElement && focused.hidden && this._root.contains(focused)) {
      (this._again.hidden ? this._text : this._again).focus({ preventScroll: true });
    }
  }

  private _drawProgress(): void {
    const { value, message } = this._progress ?? { value: 0, message: '' };
    const percent = Math.round(value * 100);
    this._bar.hidden = !this._progress || this._current === 'completed';
    this._bar.setAttribute('aria-valuenow', `${percent}`);
    this._bar.setAttribute('aria-valuetext', message ? `${percent} %: ${message}` : `${percent} %`);
    this._filled.style.width = `${value * 100}%`;
    this._step.textContent = message || `${percent} %`;
  }

  private _running(): boolean {
    return !isFinal(this._current) && !(this._current === 'disconnected' && this._message);
  }

  private _label(): string {
    if (this._stopping) {
      return 'Stopping…';
    }
    return this._current === 'disconnected' && this._running() ? 'Reconnecting…' : LABELS[this._current];
  }

  private async _copyText(): Promise<void> {
    let copied = true;
    try {
      await navigator.clipboard.writeText(this._whole);
    } catch {
      copied = false; // The page is not served over https, or may not use the clipboard: leave it to the reader.
      getSelection()?.selectAllChildren(this._text);
    }
    this._copy.textContent = copied ? 'Copied' : 'Selected';
    window.setTimeout(() => {
      this._copy.textContent = 'Copy';
    }, COPIED_MS);
  }

  private readonly _root: HTMLElement;
  private readonly _text: HTMLElement;
  private readonly _bar: HTMLElement;
  private readonly _filled: HTMLElement;
  private readonly _step: HTMLElement;
  private readonly _error: HTMLElement;
  private readonly _state: HTMLElement;
  private readonly _figures: HTMLElement;
  private readonly _notice: HTMLElement;
  private readonly _stop: HTMLButtonElement;
  private readonly _again: HTMLButtonElement;
  private readonly _copy: HTMLButtonElement;
  private _frame = 0;
  private _whole = '';
  private _pending = '';
  private _replacing = false;
  private _following = true;
  private _current: StreamState = 'connecting';
  private _stopping = false;
  private _message = '';
  private _measured: IFigures | null = null;
  private _progress: IProgress | null = null;
  private _words = '';
  private _detail = '';
  private _offer: Offer | null = null;
}

function element(tag: 'div' | 'span', className: string): HTMLElement {
  const node = document.createElement(tag);
  node.className = className;
  return node;
}

function button(label: string, className: string, action: () => void): HTMLButtonElement {
  const node = document.createElement('button');
  node.type = 'button';
  node.className = `jp-TokenStream-button ${className}`;
  node.textContent = label;
  node.addEventListener('click', action);
  return node;
}
