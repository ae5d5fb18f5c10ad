import type { ErrorInfo } from '../protocol';

/** An image: ``[height, width, channels]`` bytes, grey or RGB. */
export interface IPicture {
  width: number;
  height: number;
  channels: number;
  pixels: DataView;
}

/** A row with what the model says of it. */
export interface IItem {
  row: number;
  name: string;
  label: string;
  confidence: number;
  /** The likeliest classes, the surest first. */
  scores: [string, number][];
  picture: IPicture | null;
  fields: [string, string][];
}

/** `Figures` of jupyter_streaminfer/widgets/review_figures.py. */
export interface IFigures {
  total: number;
  predicted: number;
  failed: number;
  judged: number;
  confirmed: number;
  skipped: number;
  agreement: number | null;
  accuracy: number | null;
  before: number | null;
  reference: 'true' | 'baseline' | 'predictions';
}

/** What the kernel knows: the traits of `Review` in jupyter_streaminfer/widgets/review.py. */
export interface IReview {
  model: string;
  classes: string[];
  queue: number[];
  items: IItem[];
  figures: IFigures;
  taken: Record<string, number>;
  predicting: boolean;
  error: ErrorInfo | null;
}

/** What the page says: see jupyter_streaminfer/widgets/review_messages.py. */
export type IOp = { page: string; n: number } & (
  | { type: 'decide'; row: number; label: string; ms: number }
  | { type: 'skip'; row: number; ms: number }
  | { type: 'back'; row: number | null }
);

type Unnumbered<T> = T extends IOp ? Omit<T, 'page' | 'n'> : never;

const TRAIL = 50;

/**
 * What lies before the operator, and what was said of it that the kernel has yet to take.
 *
 * The row that is shown stays until something is said of it, whatever comes meanwhile; a busy kernel is not waited for
 * while there are rows to show.
 */
export class Desk {
  /** `page`: what this page is called. `send`: tell the kernel. */
  constructor(
    private readonly _page: string,
    private readonly _send: (op: IOp) => void
  ) {}

  /** The row that is to be judged, or null where there is none yet, or none any more. */
  get current(): IItem | null {
    return this._current;
  }

  /** What was said of it before it was taken back. */
  get former(): string | null {
    return this._former;
  }

  /** How much of what was said the kernel has yet to take. */
  get pending(): number {
    return this._ops.length;
  }

  /** Whether there is something to take back. */
  get canGoBack(): boolean {
    const { judged, skipped } = this._review?.figures ?? { judged: 0, skipped: 0 };
    return !this._awaited && (this._trail.length > 0 || judged + skipped > 0);
  }

  /** Take what the kernel knows now. */
  update(review: IReview): void {
    this._review = review;
    const taken = review.taken[this._page] ?? 0;
    this._ops = this._ops.filter(op => op.n > taken);
    this._awaited = this._awaited > taken ? this._awaited : 0;
    const row = this._current?.row;
    const settled = !this._ops.length && !review.predicting;
    if (row !== undefined && settled && !review.queue.includes(row)) {
      this._current = null; // It was judged in another page.
    }
    this._next();
  }

  decide(label: string): void {
    const item = this._leave(label);
    if (item) {
      this._say({ type: 'decide', row: item.row, label, ms: this._elapsed() });
      this._next();
    }
  }

  skip(): void {
    const item = this._leave(null);
    if (item) {
      this._say({ type: 'skip', row: item.row, ms: this._elapsed() });
      this._next();
    }
  }

  /** Take back what was said last. */
  back(): void {
    const last = this._trail.pop();
    if (last) {
      this._say({ type: 'back', row: last.item.row });
      this._show(last.item, last.label);
    } else if (this.canGoBack) {
      // It was said in another page, or before this one was loaded: the kernel knows of which row.
      this._say({ type: 'back', row: null });
      this._awaited = this._said;
      this._current = null;
    }
  }

  private _leave(label: string | null): IItem | null {
    const item = this._current;
    if (item) {
      this._trail.push({ item, label });
      this._trail.splice(0, this._trail.length - TRAIL);
      this._current = null;
    }
    return item;
  }

  private _next(): void {
    if (this._current || this._awaited || !this._review) {
      return;
    }
    const gone = new Set<number | null>();
    for (const op of this._ops) {
      if (op.type === 'back') {
        gone.delete(op.row);
      } else {
        gone.add(op.row);
      }
    }
    const items = new Map(this._review.items.map(item => [item.row, item]));
    for (const row of this._review.queue) {
      const item = items.get(row);
      if (item && !gone.has(row)) {
        this._show(item, null);
        return;
      }
    }
  }

  private _show(item: IItem, former: string | null): void {
    this._current = item;
    this._former = former;
    this._since = performance.now();
  }

  private _elapsed(): number {
    return performance.now() - this._since;
  }

  private _say(op: Unnumbered<IOp>): void {
    const numbered: IOp = { ...op, page: this._page, n: ++this._said };
    this._ops.push(numbered);
    this._send(numbered);
  }

  private _review: IReview | null = null;
  private _current: IItem | null = null;
  private _former: string | null = null;
  private _since = 0;
  private _said = 0;
  /** Said, and not taken yet. */
  private _ops: IOp[] = [];
  /** What must be taken before another row is shown. */
  private _awaited = 0;
  /** What was said in this page, the latest last. */
  private readonly _trail: { item: IItem; label: string | null }[] = [];
}
