import { Choices } from './choices';
import type { Desk, IFigures, IReview } from './desk';
import { Subject } from './subject';
import { element, flatButton, type IView } from '../view';

/** A kernel that is not busy has taken what was said by then. */
const BUSY_MS = 1000;

/** A review on the page. Texts reach it as text nodes only. */
export class ReviewView implements IView {
  constructor(
    parent: HTMLElement,
    private readonly _desk: Desk
  ) {
    this._root.tabIndex = 0;
    this._root.setAttribute('role', 'group');
    // JupyterLab takes keys that its shortcuts are made of, Enter and digits among them, before they come here.
    this._root.dataset.lmSuppressShortcuts = 'true';
    this._root.addEventListener('keydown', event => {
      this._key(event);
    });
    this._root.addEventListener('click', event => {
      // After a click the keys mean the next row again; whoever came to a button by keyboard stays there.
      if (event.detail > 0 && event.target instanceof Element && event.target.closest('button')) {
        this._root.focus({ preventScroll: true });
      }
    });
    this._left.setAttribute('role', 'progressbar');
    this._left.setAttribute('aria-label', 'Judged');
    this._left.setAttribute('aria-valuemin', '0');
    this._left.append(this._filled);
    this._asked.setAttribute('role', 'status');
    this._note.setAttribute('role', 'status');
    this._error.setAttribute('role', 'alert');
    const head = element('div', 'jp-StreaminferReview-head');
    const line = element('div', 'jp-StreaminferReview-line');
    line.append(this._count, this._note);
    head.append(this._left, line);
    const side = element('div', 'jp-StreaminferReview-side');
    side.append(this._asked, this._choices.node);
    const body = element('div', 'jp-StreaminferReview-body');
    body.append(this._subject.node, side);
    const buttons = element('div', 'jp-Streaminfer-buttons');
    for (const [node, key, name] of [
      [this._confirm, 'Enter', '⏎'],
      [this._skip, 's', 'S'],
      [this._back, 'Backspace', '⌫']
    ] as const) {
      node.setAttribute('aria-keyshortcuts', key);
      const hint = element('kbd', 'jp-StreaminferReview-key', name);
      hint.ariaHidden = 'true';
      node.append(hint);
      buttons.append(node);
    }
    const bar = element('div', 'jp-Streaminfer-bar');
    bar.append(this._figures, buttons);
    this._root.append(head, body, this._error, bar);
    parent.append(this._root);
  }

  /** Show what the kernel knows now. */
  update(review: IReview): void {
    this._review = review;
    this._desk.update(review);
    this._changed();
  }

  dispose(): void {
    cancelAnimationFrame(this._frame);
    window.clearTimeout(this._timer);
    this._root.remove();
  }

  private _act(act: () => void): void {
    act();
    this._changed();
  }

  private _key(event: KeyboardEvent): void {
    const { key, target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) {
      return;
    }
    if (this._choices.isSearch(target)) {
      if (key === 'Enter') {
        this._choices.chooseFound();
      } else if (key === 'Escape') {
        this._root.focus();
      }
      event.stopPropagation();
      return;
    }
    const label = this._choices.labelOf(key);
    const onButton = target instanceof Element && target.closest('button') !== null;
    if (key === 'Enter' && !onButton) {
      this._sure();
    } else if (label !== null) {
      this._decide(label);
    } else if (key === 's') {
      this._act(() => {
        this._desk.skip();
      });
    } else if (key === 'Backspace') {
      this._act(() => {
        this._desk.back();
      });
    } else if (!(key === '/' && this._choices.search())) {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private _sure(): void {
    const label = this._desk.current?.label;
    if (label !== undefined) {
      this._decide(label);
    }
  }

  private _decide(label: string): void {
    this._act(() => {
      this._desk.decide(label);
    });
    if (this._choices.isSearch(document.activeElement)) {
      this._root.focus({ preventScroll: true });
    }
  }

  private _changed(): void {
    this._frame ||= requestAnimationFrame(() => {
      this._draw();
    });
  }

  private _draw(): void {
    this._frame = 0;
    const review = this._review;
    if (!review) {
      return;
    }
    const { figures, error } = review;
    const item = this._desk.current;
    const done = figures.judged + this._desk.pending;
    const focused = document.activeElement;
    this._root.setAttribute('aria-label', `Review of ${review.model}`);
    this._filled.style.width = `${figures.total ? (100 * figures.judged) / figures.total : 0}%`;
    this._left.setAttribute('aria-valuemax', `${figures.total}`);
    this._left.setAttribute('aria-valuenow', `${figures.judged}`);
    this._count.textContent = countOf(review);
    this._subject.show(item);
    this._subject.node.hidden = !item;
    this._choices.node.hidden = !item;
    this._choices.show(review.classes, item, this._desk.former);
    const asked = item
      ? `Row ${item.name}: predicted ${item.label}, ${sure(item.confidence)}`
      : this._why(review, done);
    if (this._asked.textContent !== asked) {
      this._asked.textContent = asked;
    }
    this._error.textContent = error?.message ?? '';
    this._error.hidden = !error;
    this._figures.textContent = describe(figures);
    this._confirm.disabled = this._skip.disabled = !item;
    this._back.disabled = !this._desk.canGoBack;
    this._drawPending();
    // A button that can no longer be pressed would drop the focus to the top of the page.
    if (
      focused instanceof HTMLButtonElement &&
      this._root.contains(focused) &&
      (focused.disabled || !focused.offsetParent)
    ) {
      this._root.focus({ preventScroll: true });
    }
  }

  /** Say what waits for the kernel once it has waited for a while. */
  private _drawPending(): void {
    const { pending } = this._desk;
    if (!pending) {
      window.clearTimeout(this._timer);
      this._timer = this._since = 0;
    } else if (!this._since) {
      this._since = performance.now();
      this._timer = window.setTimeout(() => {
        this._changed();
      }, BUSY_MS);
    }
    const busy = pending > 0 && performance.now() - this._since >= BUSY_MS - 1;
    this._note.textContent = busy ? `${pending} kept in this page until the kernel, which is busy, takes them` : '';
  }

  private _why(review: IReview, done: number): string {
    const { total, predicted, failed } = review.figures;
    if (!total) {
      return 'There are no rows to review.';
    }
    if (this._desk.pending) {
      return 'The kernel is busy: the next rows come when it has time.';
    }
    if (review.predicting) {
      return predicted ? 'Waiting for further predictions…' : 'Waiting for the first prediction…';
    }
    return done >= predicted && predicted + failed >= total && done > 0
      ? 'Everything is judged.'
      : 'There are no further predictions.';
  }

  private readonly _root = element('div', 'jp-Streaminfer jp-Streaminfer-frame jp-StreaminferReview');
  private readonly _left = element('div', 'jp-StreaminferReview-left');
  private readonly _filled = element('div', 'jp-StreaminferReview-filled');
  private readonly _count = element('div', 'jp-StreaminferReview-count');
  private readonly _asked = element('div', 'jp-StreaminferReview-asked');
  private readonly _error = element('div', 'jp-Streaminfer-error');
  private readonly _figures = element('span', 'jp-StreaminferReview-figures');
  private readonly _note = element('span', 'jp-StreaminferReview-note');
  private readonly _subject = new Subject();
  private readonly _choices = new Choices(label => {
    this._decide(label);
  });
  private readonly _confirm = flatButton('Confirm', 'jp-StreaminferReview-button jp-mod-confirm', () => {
    this._sure();
  });
  private readonly _skip = flatButton('Skip', 'jp-StreaminferReview-button', () => {
    this._act(() => {
      this._desk.skip();
    });
  });
  private readonly _back = flatButton('Back', 'jp-StreaminferReview-button', () => {
    this._act(() => {
      this._desk.back();
    });
  });
  private _review: IReview | null = null;
  private _frame = 0;
  private _timer = 0;
  private _since = 0;
}

function countOf({ figures, predicting }: IReview): string {
  const parts = [`${figures.judged} of ${figures.total} judged`];
  if (predicting && figures.predicted + figures.failed < figures.total) {
    parts.push(`${figures.predicted} predicted`);
  }
  if (figures.skipped) {
    parts.push(`${figures.skipped} skipped`);
  }
  if (figures.failed) {
    parts.push(`${figures.failed} refused by the model`);
  }
  return parts.join(' · ');
}

function describe({ agreement, accuracy, before, reference }: IFigures): string {
  const parts: string[] = [];
  if (agreement !== null) {
    parts.push(`Agreement ${percent(agreement)}`);
  }
  if (accuracy !== null && reference === 'true') {
    parts.push(`Accuracy ${percent(accuracy)}${before === null ? '' : ` (before ${percent(before)})`}`);
  } else if (accuracy !== null && reference === 'baseline') {
    parts.push(`As the baseline ${percent(accuracy)}`);
  }
  return parts.join(' · ');
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** A confidence: what is not certain is not said to be. */
function sure(confidence: number): string {
  return confidence > 0.99 && confidence < 1 ? `${Math.floor(confidence * 1000) / 10} %` : percent(confidence);
}
