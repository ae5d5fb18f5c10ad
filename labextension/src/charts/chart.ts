import uPlot from 'uplot';

import { element, type IView } from '../view';
import { Legend } from './legend';
import { OnScreen } from './onScreen';
import { coloursOf, DASHES, followTheme, type IColours } from './theme';
import { drawInTurn, forget } from './turn';
import { say, type Unit } from './units';

/** A figure over time. */
export interface ILine {
  label: string;
  /** One for each time; null where there was no figure, which leaves a gap. */
  values: readonly (number | null)[];
}

const AXIS_WIDTH = 62;
const MINUTES = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const SECONDS = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const SECOND_STEPS = [1, 5, 10, 15, 30, 60];
const MINUTE_STEPS = [60, 120, 300, 600];
const POWERS = Array.from({ length: 24 }, (_, power) => power - 6);
const DECIMALS = POWERS.flatMap(power => [1, 2, 5].map(factor => factor * 10 ** power));
const WHOLE = DECIMALS.filter(step => step >= 1);
/** What lies between two marks of the scale. */
const STEPS: Record<Unit, number[]> = {
  ms: DECIMALS,
  per_s: DECIMALS,
  share: DECIMALS,
  count: WHOLE,
  bytes: Array.from({ length: 50 }, (_, power) => 2 ** power)
};
/** A reader of the screen is told the newest figures this often at most. */
const TELL_MS = 5_000;
/** All charts show where the pointer is in time. */
const CURSOR = 'jupyter-streaminfer';

/** Some figures over the last minutes as lines, with a legend of their newest values, or of those under the pointer. */
export class Chart implements IView {
  /** `_most`: where its scale ends at least; else it ends with its highest figure. */
  constructor(
    node: HTMLElement,
    private readonly _title: string,
    private readonly _unit: Unit,
    private readonly _most: number | null = null
  ) {
    this._root = element('figure', 'jp-Streaminfer-chart');
    this._root.append(element('figcaption', 'jp-Streaminfer-chartTitle', _title));
    this._legend = new Legend(this._root);
    this._canvas = element('div', 'jp-Streaminfer-plot');
    this._canvas.setAttribute('role', 'img');
    this._canvas.setAttribute('aria-label', `${_title}: no figures yet`);
    this._root.append(this._canvas);
    node.append(this._root);
    this._screen = new OnScreen(this._canvas, this._changed);
    this._unfollow = followTheme(() => {
      this._changed();
    });
  }

  /** Show the last `seconds` up to the newest time; `times` are seconds of Unix time. */
  show(times: readonly number[], lines: readonly ILine[], seconds: number): void {
    this._times = times;
    this._lines = lines;
    this._seconds = seconds;
    this._changed();
    this._tell();
  }

  set hidden(hidden: boolean) {
    this._root.hidden = hidden;
  }

  dispose(): void {
    forget(this._draw);
    this._unfollow();
    this._screen.dispose();
    this._plot?.destroy();
    this._root.remove();
  }

  private readonly _changed = (): void => {
    drawInTurn(this._draw);
  };

  private readonly _draw = (): void => {
    if (!this._screen.visible) {
      return;
    }
    const labels = this._lines.map(({ label }) => label);
    // Anew each time: where a widget is shown, its style sheet may come after its first figures.
    this._colours = coloursOf(this._root);
    if (this._plot === null || labels.join('\n') !== this._labels.join('\n')) {
      this._rebuild(labels);
    }
    if (this._plot) {
      const { width, height } = this._size();
      if (width !== this._plot.width || height !== this._plot.height) {
        this._plot.setSize({ width, height });
      }
      this._plot.setData([this._times, ...this._lines.map(({ values }) => values)] as uPlot.AlignedData);
      this._showValues();
    }
  };

  private _rebuild(labels: string[]): void {
    this._plot?.destroy();
    this._labels = labels;
    this._legend.setLabels(labels);
    const options: uPlot.Options = {
      ...this._size(),
      padding: [8, 24, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: { key: CURSOR, setSeries: false } },
      scales: {
        x: { range: () => [this._newest() - this._seconds, this._newest()] },
        y: { range: (_, __, most) => [0, this._top(most)] }
      },
      axes: [
        this._axis({ space: 60, size: 24, values: this._clock, incrs: () => this._steps() }),
        this._axis({ size: AXIS_WIDTH, values: this._ticks, incrs: STEPS[this._unit] })
      ],
      series: [{}, ...labels.map((_, index) => this._series(index))],
      hooks: {
        setCursor: [
          () => {
            this._showValues();
          }
        ]
      }
    };
    this._plot = new uPlot(options, [[], ...labels.map(() => [])], this._canvas);
  }

  private _series(index: number): uPlot.Series {
    const colour = (): string => this._colours.series[index % this._colours.series.length] ?? this._colours.ink;
    return {
      stroke: colour,
      width: 1.75,
      dash: [...(DASHES[index % DASHES.length] ?? [])],
      points: { show: false, size: 4, filter: (plot, line) => lonely(plot.data[line] ?? []), fill: colour }
    };
  }

  private _axis(options: uPlot.Axis): uPlot.Axis {
    const stroke = (): string => this._colours.grid;
    return {
      stroke: () => this._colours.muted,
      font: '11px system-ui, sans-serif',
      grid: { stroke, width: 1 },
      ticks: { show: false },
      gap: 6,
      ...options
    };
  }

  private readonly _ticks = (_: uPlot, values: number[]): string[] => values.map(value => say(value, this._unit));

  private _steps(): number[] {
    return this._seconds <= 60 ? SECOND_STEPS : MINUTE_STEPS;
  }

  private readonly _clock = (_: uPlot, times: number[]): string[] => {
    const format = this._seconds <= 60 ? SECONDS : MINUTES;
    return times.map(time => format.format(time * 1000));
  };

  /** The top of the scale. */
  private _top(highest: number | null): number {
    const most = Math.max((highest ?? 0) * 1.15, this._most ?? 0);
    return most > 0 ? most : 1;
  }

  private _size(): { width: number; height: number } {
    return { width: this._canvas.clientWidth, height: this._canvas.clientHeight };
  }

  private _newest(): number {
    return this._times[this._times.length - 1] ?? Date.now() / 1000;
  }

  private _showValues(): void {
    const index = this._plot?.cursor.idx ?? this._times.length - 1;
    this._legend.setValues(this._lines.map(({ values }) => say(values[index], this._unit)));
  }

  private _tell(): void {
    const now = performance.now();
    const last = this._times.length - 1;
    if (now - this._told > TELL_MS && last >= 0 && this._lines.length > 0) {
      this._told = now;
      const figures = this._lines.map(({ label, values }) => `${label} ${say(values[last], this._unit)}`);
      this._canvas.setAttribute('aria-label', `${this._title}: ${figures.join(', ')}`);
    }
  }

  private readonly _root: HTMLElement;
  private readonly _canvas: HTMLElement;
  private readonly _legend: Legend;
  private readonly _screen: OnScreen;
  private readonly _unfollow: () => void;
  private _colours!: IColours;
  private _plot: uPlot | null = null;
  private _labels: string[] = [];
  private _times: readonly number[] = [];
  private _lines: readonly ILine[] = [];
  private _seconds = 300;
  private _told = -TELL_MS;
}

/** The figures that have none beside them: a line through one point would not be seen. */
function lonely(values: ArrayLike<number | null | undefined>): number[] {
  const found = [];
  for (let index = 0; index < values.length; index++) {
    const alone = (values[index - 1] ?? null) === null && (values[index + 1] ?? null) === null;
    if (alone && (values[index] ?? null) !== null) {
      found.push(index);
    }
  }
  return found;
}
