import { say } from '../charts/units';
import { element } from '../view';
import { nameOf } from './picture';
import type { Tracks } from './track';

const HEAD = ['Stream', 'State', 'Began', 'Queue', 'TTFT', 'Tokens', 'ITL, mean', 'ITL, worst', 'All'];

/** The same streams as a table, for whoever reads rather than looks. Made when it is opened, and fresh from then on. */
export class TimelineTable {
  constructor(
    parent: HTMLElement,
    private readonly _tracks: Tracks
  ) {
    this._details = element('details', 'jp-StreaminferTimeline-table');
    const frame = element('div', 'jp-Streaminfer-streams');
    frame.tabIndex = 0;
    frame.setAttribute('role', 'region');
    frame.setAttribute('aria-label', 'Streams as a table');
    const table = element('table', 'jp-StreaminferTimeline-rows');
    const head = element('tr');
    head.append(
      ...HEAD.map(name => {
        const cell = element('th', '', name);
        cell.scope = 'col';
        return cell;
      })
    );
    const top = element('thead');
    top.append(head);
    table.append(top, this._body);
    frame.append(table);
    this._details.append(element('summary', '', 'As a table'), frame);
    this._details.addEventListener('toggle', () => {
      this.show();
    });
    parent.append(this._details);
  }

  show(): void {
    if (!this._details.open) {
      return;
    }
    this._tracks.all.forEach((track, index) => {
      const { row } = track;
      this._write(index, [
        nameOf(track, index),
        row.state,
        row.began === null ? '–' : say(this._tracks.offset(track), 'ms'),
        say(row.queue_ms, 'ms'),
        say(row.ttft_ms, 'ms'),
        say(row.tokens, 'count'),
        say(row.itl_mean_ms, 'ms'),
        say(row.itl_max_ms, 'ms'),
        say(row.duration_ms, 'ms')
      ]);
    });
  }

  private _write(index: number, texts: readonly string[]): void {
    const line = this._body.rows[index] ?? this._body.insertRow();
    texts.forEach((text, column) => {
      const cell = line.cells[column] ?? line.insertCell();
      if (cell.textContent !== text) {
        cell.textContent = text;
      }
    });
  }

  private readonly _details: HTMLDetailsElement;
  private readonly _body = element('tbody');
}
