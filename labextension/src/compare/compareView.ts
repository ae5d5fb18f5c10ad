import type { IServer } from '../server';
import { TokenStreamController } from '../stream/controller';
import type { ISnapshot } from '../stream/snapshot';
import { element, flatButton, type IView } from '../view';

/** What makes an answer different from those beside it. */
export interface IColumn {
  model: string;
  temperature?: number;
  seed?: number;
}

/** What surrounds a comparison; answers are told by their place. */
export interface ICompareHost {
  /** The page reads answers by itself; null: the kernel does. */
  server: IServer | null;
  cancel?(column: number): void;
  retry?(column: number): void;
  continue?(column: number): void;
  /** The page reads an answer by itself. */
  attached?(): void;
  /** The page started another answer. */
  began(column: number, snapshot: ISnapshot): void;
}

/** One prompt and what several models make of it, side by side. Framework-free. */
export class CompareView implements IView {
  constructor(
    parent: HTMLElement,
    prompt: string,
    columns: readonly IColumn[],
    private readonly _host: ICompareHost
  ) {
    const text = element('div', 'jp-StreaminferCompare-prompt', prompt);
    text.dir = 'auto';
    text.tabIndex = 0;
    text.setAttribute('role', 'group');
    text.setAttribute('aria-label', 'Prompt');
    this._stop = flatButton('Stop all', 'jp-mod-stop', () => {
      for (const answer of this._answers) {
        answer.stop();
      }
      this._answers[0]?.focus();
    });
    const header = element('div', 'jp-Streaminfer-frame jp-StreaminferCompare-header');
    header.append(text, this._stop);
    const grid = element('div', 'jp-StreaminferCompare-columns');
    this._answers = columns.map((column, index) => this._add(grid, column, index));
    this._root.append(header, grid);
    parent.append(this._root);
  }

  /** Show what is known of the answers; one that is as it was when it was shown last stays as it is. */
  show(answers: readonly ISnapshot[]): void {
    answers.forEach((answer, index) => {
      const said = JSON.stringify(answer);
      if (index < this._answers.length && said !== this._shown[index]) {
        this._shown[index] = said;
        this._answers[index].show({ ...answer, stream: answer.stream ? answer.stream : null });
      }
    });
    this._refresh();
  }

  dispose(): void {
    for (const answer of this._answers) {
      answer.dispose();
    }
    this._root.remove();
  }

  private _add(grid: HTMLElement, column: IColumn, index: number): TokenStreamController {
    const host = this._host;
    const place = element('section', 'jp-StreaminferCompare-column');
    const name = element('h3', 'jp-StreaminferCompare-name');
    name.append(element('bdi', '', column.model));
    for (const option of ['temperature', 'seed'] as const) {
      if (column[option] !== undefined) {
        name.append(element('span', 'jp-StreaminferCompare-option', `${option} ${column[option]}`));
      }
    }
    place.setAttribute('aria-label', name.textContent);
    place.append(name);
    grid.append(place);
    return new TokenStreamController(place, {
      server: host.server,
      attached: () => {
        host.attached?.();
      },
      stop: () => {
        host.cancel?.(index);
      },
      retry: host.server
        ? undefined
        : () => {
            host.retry?.(index);
          },
      continue: () => {
        host.continue?.(index);
      },
      changed: (snapshot, started) => {
        if (started && !snapshotEnded(snapshot) && snapshot.stream !== this._begun[index]) {
          this._begun[index] = snapshot.stream;
          host.began(index, snapshot);
        }
      },
      said: () => {
        this._refresh();
      }
    });
  }

  private _refresh(): void {
    const running = this._answers.some(answer => answer.running);
    const focused = document.activeElement === this._stop;
    this._stop.disabled = !running;
    if (focused && !running) {
      this._answers[0]?.focus();
    }
  }

  private readonly _root = element('section', 'jp-Streaminfer jp-StreaminferCompare');
  private readonly _stop: HTMLButtonElement;
  private readonly _answers: TokenStreamController[] = [];
  private readonly _shown: string[] = [];
  /** The streams that the page started last, each of which is told of once. */
  private readonly _begun: (string | null)[] = [];
}

function snapshotEnded({ state }: ISnapshot): boolean {
  return state !== 'connecting' && state !== 'streaming';
}
