import { element } from '../view';
import { DASHES, SERIES_COLOURS } from './theme';

/** The names of a chart's lines, how each is drawn, and the figures that it shows now. */
export class Legend {
  constructor(parent: HTMLElement) {
    this._root = element('div', 'jp-Streaminfer-legend');
    parent.append(this._root);
  }

  /** Name the lines; `values` gives each a figure from then on. */
  setLabels(labels: readonly string[]): void {
    this._values = labels.map(() => element('span', 'jp-Streaminfer-legendValue', '–'));
    const items = labels.map((label, index) => {
      const item = element('span', 'jp-Streaminfer-legendItem');
      const name = element('span', 'jp-Streaminfer-legendName', label);
      name.title = label;
      item.append(swatch(index), name, ...this._values.slice(index, index + 1));
      return item;
    });
    this._root.replaceChildren(...items);
  }

  setValues(values: readonly string[]): void {
    this._values.forEach((node, index) => {
      const value = values[index] ?? '–';
      if (node.textContent !== value) {
        node.textContent = value;
      }
    });
  }

  private readonly _root: HTMLElement;
  private _values: HTMLElement[] = [];
}

const SVG = 'http://www.w3.org/2000/svg';

/** A piece of the line as the chart draws it. */
function swatch(index: number): SVGElement {
  const image = document.createElementNS(SVG, 'svg');
  image.setAttribute('class', 'jp-Streaminfer-swatch');
  image.setAttribute('viewBox', '0 0 24 4');
  image.setAttribute('aria-hidden', 'true');
  const line = document.createElementNS(SVG, 'line');
  line.setAttribute('x2', '24');
  line.setAttribute('y1', '2');
  line.setAttribute('y2', '2');
  line.setAttribute('stroke-width', '2');
  line.setAttribute('stroke-dasharray', (DASHES[index % DASHES.length] ?? []).join(' '));
  line.style.stroke = `var(--si-series-${(index % SERIES_COLOURS) + 1})`;
  image.append(line);
  return image;
}
