import { newestOf } from '../metrics/sampleLog';
import type { IMetricsSource, SourceState } from '../metrics/source';
import type { ErrorInfo, Metrics } from '../protocol';
import { button, element, type IView } from '../view';
import { entriesOf, entryKey } from './readings';
import { scopeOf, type Scope } from './scope';

const WORDS: Record<SourceState, string> = {
  connecting: 'Connecting…',
  live: 'Live',
  disconnected: 'Reconnecting…',
  failed: 'Failed'
};
const SPANS: readonly [number, string][] = [
  [60, '1 minute'],
  [300, '5 minutes'],
  [600, '10 minutes']
];

/** Above the panels, wherever they are laid out: how the source stands, and of which model and how long they show. */
export class DashboardToolbar implements IView {
  constructor(
    parent: HTMLElement,
    private readonly _source: IMetricsSource
  ) {
    this._scope = scopeOf(_source);
    this._root = element('div', 'jp-Streaminfer jp-Streaminfer-toolbar');
    this._state = element('span', 'jp-Streaminfer-state', WORDS.connecting);
    this._state.setAttribute('role', 'status');
    this._error = element('span', 'jp-Streaminfer-problem');
    this._error.setAttribute('role', 'alert');
    this._retry = button('Try again', 'jp-Streaminfer-button', () => {
      _source.retry();
    });
    this._model = select('Model', value => {
      this._scope.set({ model: value || null });
    });
    this._span = select('Time', value => {
      this._scope.set({ seconds: Number(value) });
    });
    this._span.replaceChildren(...SPANS.map(([seconds, label]) => new Option(label, `${seconds}`)));
    this._offer([]);
    this._follow();
    this._root.append(this._state, this._error, this._retry, labelled('Model', this._model));
    this._root.append(labelled('Time', this._span));
    parent.append(this._root);
    this._tell('connecting', null);
    this._ends = [
      this._scope.follow(() => {
        this._follow();
      }),
      this._source.subscribe(['metrics'], {
        state: (state, error) => {
          this._tell(state, error);
        },
        history: samples => {
          const newest = newestOf(samples);
          if (newest) {
            this._take(newest);
          }
        },
        metrics: sample => {
          this._take(sample);
        }
      })
    ];
  }

  dispose(): void {
    this._ends.forEach(end => {
      end();
    });
    this._root.remove();
  }

  private _tell(state: SourceState, error: ErrorInfo | null): void {
    this._root.dataset.state = state;
    this._state.textContent = WORDS[state];
    this._error.textContent = error?.message ?? '';
    this._retry.hidden = state !== 'failed';
  }

  /** Offer what there is: each model, and each of its versions where there are several. */
  private _take(sample: Metrics): void {
    const offers: [string, string][] = [];
    for (const name of [...new Set(sample.models.map(({ model }) => model))].sort()) {
      const entries = entriesOf(sample, name);
      offers.push([name, name]);
      if (entries.length > 1) {
        offers.push(...entries.map((entry): [string, string] => [entryKey(entry), sayEntry(entry)]));
      }
    }
    this._offer(offers);
  }

  private _offer(offers: [string, string][]): void {
    const chosen = this._scope.model;
    if (chosen !== null && !offers.some(([value]) => value === chosen)) {
      offers.push([chosen, chosen.split('\n').filter(Boolean).join(' ')]);
    }
    const known = JSON.stringify(offers);
    if (known !== this._known) {
      this._known = known;
      this._model.replaceChildren(
        new Option('All models', ''),
        ...offers.map(([value, label]) => new Option(label, value))
      );
      this._follow();
    }
  }

  private _follow(): void {
    this._model.value = this._scope.model ?? '';
    this._span.value = `${this._scope.seconds}`;
  }

  private readonly _root: HTMLElement;
  private readonly _state: HTMLElement;
  private readonly _error: HTMLElement;
  private readonly _retry: HTMLButtonElement;
  private readonly _model: HTMLSelectElement;
  private readonly _span: HTMLSelectElement;
  private readonly _scope: Scope;
  private readonly _ends: (() => void)[];
  private _known = '';
}

function sayEntry({ model, version, arm }: Metrics['models'][number]): string {
  return [`${model} ${version}`, arm].filter(Boolean).join(' · ');
}

function select(label: string, chosen: (value: string) => void): HTMLSelectElement {
  const node = element('select', 'jp-Streaminfer-select');
  node.setAttribute('aria-label', label);
  node.dataset.lmSuppressShortcuts = 'true'; // In Lab the arrows would move to another cell.
  node.addEventListener('change', () => {
    chosen(node.value);
  });
  return node;
}

function labelled(text: string, control: HTMLElement): HTMLElement {
  const label = element('label', 'jp-Streaminfer-field', text);
  label.append(control);
  return label;
}
