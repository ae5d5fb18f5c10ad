import { say } from '../charts/units';
import { newestOf } from '../metrics/sampleLog';
import type { IMetricsSource } from '../metrics/source';
import type { Metrics } from '../protocol';
import { element, type IView } from '../view';
import { latency, total } from './readings';
import { scopeOf } from './scope';

const FIGURES: readonly [string, (sample: Metrics, model: string | null) => string][] = [
  [
    'open',
    (sample, model) =>
      say(
        total(sample, model, traffic => traffic.open),
        'count'
      )
  ],
  [
    'tokens out',
    (sample, model) =>
      say(
        total(sample, model, traffic => traffic.tokens_out_per_s),
        'per_s'
      )
  ],
  ['TTFT p95', (sample, model) => say(latency(sample, model, 'ttft_ms', 'p95'), 'ms')],
  ['ITL p95', (sample, model) => say(latency(sample, model, 'itl_ms', 'p95'), 'ms')],
  [
    'requests',
    (sample, model) =>
      say(
        total(sample, model, traffic => traffic.requests),
        'count'
      )
  ],
  ['loop lag', sample => say(sample.loop_lag_ms, 'ms')]
];

/** The few figures that are looked at first, as they are now. */
export class Headline implements IView {
  constructor(parent: HTMLElement, source: IMetricsSource) {
    this._root = element('dl', 'jp-Streaminfer-frame jp-Streaminfer-headline');
    const values = FIGURES.map(([name, of]) => {
      const tile = element('div', 'jp-Streaminfer-tile');
      const value = element('dd', '', '–');
      tile.append(element('dt', '', name), value);
      this._root.append(tile);
      return [of, value] as const;
    });
    parent.append(this._root);
    const scope = scopeOf(source);
    const show = (): void => {
      for (const [of, node] of values) {
        const text = this._newest ? of(this._newest, scope.model) : '–';
        if (node.textContent !== text) {
          node.textContent = text;
        }
      }
    };
    const take = (sample: Metrics | null): void => {
      this._newest = sample;
      show();
    };
    this._ends = [
      scope.follow(show),
      source.subscribe(['metrics'], {
        history: samples => {
          take(newestOf(samples));
        },
        metrics: take
      })
    ];
  }

  dispose(): void {
    this._ends.forEach(end => {
      end();
    });
    this._root.remove();
  }

  private readonly _root: HTMLElement;
  private readonly _ends: (() => void)[];
  private _newest: Metrics | null = null;
}
