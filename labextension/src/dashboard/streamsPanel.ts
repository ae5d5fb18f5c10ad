import type { IMetricsSource } from '../metrics/source';
import type { StreamsSample, StreamStatus } from '../protocol';
import { element } from '../view';
import { OnScreen } from '../charts/onScreen';
import { drawInTurn, forget } from '../charts/turn';
import { Panel, type IPanel } from './panel';
import { scopeOf, type Scope } from './scope';
import { COLUMNS, StreamRow } from './streamRow';

/** So long a stream that ended stays in the table, for whoever was about to look at it. */
const LINGER_MS = 10_000;
/** Of more streams the newest ones are shown. */
const MOST_ROWS = 200;

/** Where it is not in view it is drawn this often. */
const UNSEEN_MS = 5_000;

/** The open streams, the newest first, each with where its time went and a way to stop it. */
export const STREAMS: IPanel = {
  id: 'streams',
  title: 'Streams',
  create: (node, source) => new StreamsPanel(node, source)
};

class StreamsPanel extends Panel {
  constructor(parent: HTMLElement, source: IMetricsSource) {
    super(parent, 'streams');
    this._scope = scopeOf(source);
    this._cancel = source.cancel
      ? stream => {
          source.cancel?.(stream);
        }
      : null;
    this._frame = element('div', 'jp-Streaminfer-streams');
    this._frame.hidden = true;
    this._frame.tabIndex = 0;
    this._frame.dataset.lmSuppressShortcuts = 'true'; // In Lab the arrows would move to another cell.
    this._frame.setAttribute('role', 'region');
    this._frame.setAttribute('aria-label', 'Open streams');
    const table = element('table', 'jp-Streaminfer-table');
    const head = element('tr');
    head.append(...COLUMNS.map(heading));
    const top = element('thead');
    top.append(head);
    this._body = element('tbody');
    table.append(top, this._body);
    this._frame.append(table);
    this._more = element('p', 'jp-Streaminfer-note');
    this.node.append(this._frame, this._more);
    this._screen = new OnScreen(this.node, this._changed);
    this.end(this._scope.follow(this._changed));
    this.listen(source, ['streams'], {
      streams: sample => {
        this._sample = sample;
        this._changed();
      }
    });
  }

  override dispose(): void {
    forget(this._draw);
    this._screen.dispose();
    super.dispose();
  }

  private readonly _changed = (): void => {
    drawInTurn(this._draw);
  };

  private readonly _draw = (): void => {
    // Where nobody looks somebody may still read, by a reader of the screen.
    const due = performance.now() - this._drawn > UNSEEN_MS && this._screen.shown;
    if (this._sample === null || !(this._screen.visible || due)) {
      return;
    }
    this._drawn = performance.now();
    const model = this._scope.model?.split('\n', 1)[0] ?? null;
    const { streams, open: openInAll = 0, left_out: leftOut = 0 } = this._sample;
    const all = streams.filter(stream => current(stream) && (model === null || stream.model === model));
    all.sort((one, other) => (other.began ?? 0) - (one.began ?? 0));
    const shown = all.slice(0, MOST_ROWS);
    this._put(shown);
    this._frame.hidden = shown.length === 0;
    this.say(shown.length > 0 ? '' : 'No stream is open: client.generate(…) starts one.');
    const open = model === null ? openInAll : all.filter(({ state }) => state === 'open').length;
    const beyond = all.length - shown.length;
    const more = beyond > 0 ? `, ${beyond} older ones are not shown` : '';
    const left = leftOut > 0 ? `; ${leftOut} older ones are not listed` : '';
    this._more.textContent = shown.length > 0 ? `${open} open${more}${left}` : '';
  };

  /** Rows come and go, none is moved: one that is moved would lose the focus. */
  private _put(shown: readonly StreamStatus[]): void {
    const longest = Math.max(...shown.map(({ duration_ms: duration, age_ms: age }) => duration ?? age), 1);
    const wanted = new Set(shown.map(({ stream }) => stream));
    for (const [id, row] of this._rows) {
      if (!wanted.has(id)) {
        if (row.node.contains(document.activeElement)) {
          this._frame.focus({ preventScroll: true });
        }
        row.node.remove();
        this._rows.delete(id);
      }
    }
    let place = this._body.firstElementChild;
    for (const status of shown) {
      let row = this._rows.get(status.stream);
      if (row === undefined) {
        row = new StreamRow(status.stream, this._cancel);
        this._rows.set(status.stream, row);
        this._body.insertBefore(row.node, place);
      } else {
        place = row.node.nextElementSibling;
      }
      row.show(status, longest);
    }
  }

  private readonly _scope: Scope;
  private readonly _cancel: ((stream: string) => void) | null;
  private readonly _frame: HTMLElement;
  private readonly _body: HTMLElement;
  private readonly _more: HTMLElement;
  private readonly _screen: OnScreen;
  private readonly _rows = new Map<string, StreamRow>();
  private _sample: StreamsSample | null = null;
  private _drawn = -UNSEEN_MS;
}

function current({ state, age_ms: age, duration_ms: duration }: StreamStatus): boolean {
  return state === 'open' || age - (duration ?? 0) < LINGER_MS;
}

function heading([name, className]: readonly [string, string]): HTMLElement {
  const cell = element(name ? 'th' : 'td', className, name);
  if (name) {
    cell.setAttribute('scope', 'col');
  }
  return cell;
}
