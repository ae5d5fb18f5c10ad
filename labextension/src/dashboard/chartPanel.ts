import { Chart } from '../charts/chart';
import { linesOf, type IFigure } from '../charts/series';
import type { Unit } from '../charts/units';
import { SampleLog } from '../metrics/sampleLog';
import type { IMetricsSource } from '../metrics/source';
import type { Metrics } from '../protocol';
import { element } from '../view';
import { Panel, type IPanel } from './panel';
import { scopeOf, type Scope } from './scope';

/** One chart of a panel. */
export interface IChartSpec {
  title: string;
  unit: Unit;
  /** Its lines, given the newest sample. */
  figures(newest: Metrics, model: string | null): readonly IFigure[];
  /** Whether it is shown although it has no figure; else it is shown from its first figure on. */
  always: boolean;
  /** Where its scale ends at least; absent: it ends with its highest figure. */
  most?: number;
}

/** What a panel shows. */
export interface IPanelSpec {
  id: string;
  title: string;
  charts: readonly IChartSpec[];
  /** Says in a line what is no line over time. */
  note?(newest: Metrics, model: string | null): string;
  /** What stands above the charts. */
  above?(parent: HTMLElement): INewestView;
  /** Says why there is nothing to see and what to do about it; empty where there is something. */
  nothing(samples: readonly Metrics[], model: string | null): string;
}

/** Shows something of the newest sample. */
export interface INewestView {
  show(newest: Metrics, model: string | null): void;
}

/** The panel that a spec describes. */
export function chartPanel(spec: IPanelSpec): IPanel {
  return { id: spec.id, title: spec.title, create: (node, source) => new ChartPanel(node, source, spec) };
}

class ChartPanel extends Panel {
  constructor(
    parent: HTMLElement,
    source: IMetricsSource,
    private readonly _spec: IPanelSpec
  ) {
    super(parent, _spec.id);
    this._scope = scopeOf(source);
    this._above = _spec.above?.(this.node) ?? null;
    const charts = element('div', 'jp-Streaminfer-charts');
    this._charts = _spec.charts.map(each => [each, new Chart(charts, each.title, each.unit, each.most)]);
    this._charts.forEach(([each, chart]) => {
      chart.hidden = !each.always;
    });
    this._note = element('p', 'jp-Streaminfer-note');
    this._note.hidden = true;
    this.node.append(charts, this._note);
    this.end(
      this._scope.follow(() => {
        this._show();
      })
    );
    this.listen(source, ['metrics'], {
      history: samples => {
        this._log.replace(samples);
        this._show();
      },
      metrics: sample => {
        this._log.add(sample);
        this._show();
      }
    });
  }

  override dispose(): void {
    this._charts.forEach(([, chart]) => {
      chart.dispose();
    });
    super.dispose();
  }

  private _show(): void {
    const { newest } = this._log;
    if (newest === null) {
      return;
    }
    const { model, seconds } = this._scope;
    const samples = this._log.samples.filter(({ at }) => at >= newest.at - seconds);
    for (const [spec, chart] of this._charts) {
      const { times, lines } = linesOf(samples, spec.figures(newest, model));
      chart.hidden = !spec.always && lines.every(({ values }) => values.every(value => value === null));
      chart.show(times, lines, seconds);
    }
    this._above?.show(newest, model);
    this.say(this._spec.nothing(samples, model));
    const note = this._spec.note?.(newest, model) ?? '';
    this._note.hidden = note === '';
    if (this._note.textContent !== note) {
      this._note.textContent = note;
    }
  }

  private readonly _scope: Scope;
  private readonly _above: INewestView | null;
  private readonly _charts: [IChartSpec, Chart][];
  private readonly _note: HTMLElement;
  private readonly _log = new SampleLog();
}
