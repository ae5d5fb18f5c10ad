import type { ISeries } from './progressView';
import { element } from '../view';

const SVG = 'http://www.w3.org/2000/svg';
const HEIGHT = 170;
const LEFT = 48;
const RIGHT = 12;
const TOP = 8;
const BOTTOM = 22;
/** So many differ in colour and dashes; see style/progress.css. */
const STYLES = 6;

/** A small line chart of figures over the epochs. */
export class LineChart {
  readonly node = element('div', 'jp-StreaminferProgress-chart');

  constructor(private readonly _title: string) {
    this._plot.setAttribute('role', 'img');
    this.node.append(element('div', 'jp-StreaminferProgress-chartTitle', _title), this._plot, this._legend);
    this._resized.observe(this.node);
  }

  /** Draw the figures of a training of so many epochs; nothing is drawn where none is finite. */
  show(series: readonly ISeries[], epochs: number): void {
    this._series = series;
    this._epochs = epochs;
    this._draw();
  }

  dispose(): void {
    this._resized.disconnect();
  }

  private _draw(): void {
    const width = Math.max(180, this.node.clientWidth);
    this._plot.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this._plot.setAttribute('width', `${width}`);
    this._plot.setAttribute('height', `${HEIGHT}`);
    this._plot.textContent = '';
    this._legend.textContent = '';
    this.node.hidden = !this._series.length;
    const values = this._series.flatMap(each => [each.least ?? NaN, each.greatest ?? NaN]).filter(Number.isFinite);
    const ticks = ticksOf(Math.min(...values), Math.max(...values));
    const low = ticks[0];
    const high = ticks[ticks.length - 1];
    const x = (epoch: number) => LEFT + (epoch / this._epochs) * (width - LEFT - RIGHT);
    const y = (value: number) => TOP + ((high - value) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    for (const tick of ticks) {
      this._plot.append(
        shape('line', 'jp-mod-grid', { x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
        label(brief(tick), LEFT - 6, y(tick) + 4, 'end')
      );
    }
    const every = Math.max(1, Math.ceil(this._epochs / Math.max(2, Math.floor(width / 90))));
    for (let epoch = 0; epoch <= this._epochs; epoch += every) {
      this._plot.append(label(`${epoch}`, x(epoch), HEIGHT - 6, 'middle'));
    }
    this._series.forEach((each, place) => {
      const style = `jp-mod-line jp-mod-line${place % STYLES}`;
      const points = each.points.map(([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`);
      this._plot.append(shape('polyline', style, { points: points.join(' ') }));
      if (each.points.length && each.points.length <= 30) {
        for (const [epoch, value] of each.points) {
          this._plot.append(shape('circle', style, { cx: x(epoch), cy: y(value), r: 2.5 }));
        }
      }
      const key = document.createElementNS(SVG, 'svg');
      key.setAttribute('width', '22');
      key.setAttribute('height', '10');
      key.setAttribute('aria-hidden', 'true');
      key.append(shape('line', style, { x1: 1, x2: 21, y1: 5, y2: 5 }));
      const item = element('span', 'jp-StreaminferProgress-key');
      item.append(key, element('span', '', each.name));
      this._legend.append(item);
    });
    const said = this._series.map(each => `${each.name} ${brief(each.latest)}`);
    this._plot.setAttribute('aria-label', `${this._title} over the epochs: ${said.join(', ')}`);
  }

  private readonly _plot = document.createElementNS(SVG, 'svg');
  private readonly _legend = element('div', 'jp-StreaminferProgress-legend');
  private readonly _resized = new ResizeObserver(() => {
    this._draw();
  });
  private _series: readonly ISeries[] = [];
  private _epochs = 1;
}

/** A number to four digits; a figure that is not finite is said to be so. */
export function brief(value: number | null): string {
  if (value === null) {
    return 'not finite';
  }
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e6) ? value.toExponential(2) : `${Number(value.toPrecision(4))}`;
}

/** Three to six round numbers that the least and the greatest lie between. */
function ticksOf(least: number, greatest: number): number[] {
  if (!Number.isFinite(least)) {
    return [0, 1];
  }
  const span = greatest - least || Math.abs(greatest) || 1;
  const rough = span / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find(each => each * power >= rough) ?? 10);
  const first = Math.floor(least / step);
  const last = Math.max(first + 1, Math.ceil(greatest / step));
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}

function shape(tag: string, className: string, attributes: Record<string, number | string>): SVGElement {
  const node = document.createElementNS(SVG, tag);
  node.setAttribute('class', className);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, `${value}`);
  }
  return node;
}

function label(text: string, x: number, y: number, anchor: string): SVGElement {
  const node = shape('text', 'jp-mod-label', { x, y, 'text-anchor': anchor });
  node.textContent = text;
  return node;
}
