import { element, flatButton } from '../view';
import { timings } from './figures';
import type { IFigures } from './snapshot';

/** How long each part of a stream took, in a line that a button opens. */
export class TimingsLine {
  readonly node = element('dl', 'jp-TokenStream-timings');
  readonly button: HTMLButtonElement;

  constructor() {
    this.button = flatButton('Timings', '', () => {
      this._open = !this._open;
      this._draw();
    });
    this._draw();
  }

  show(figures: IFigures | null): void {
    if (figures !== this._figures) {
      this._figures = figures;
      this._draw();
    }
  }

  private _draw(): void {
    const known = this._figures ? timings(this._figures) : [];
    this.button.hidden = known.length === 0;
    this.button.setAttribute('aria-expanded', `${this._open}`);
    this.node.hidden = !this._open || known.length === 0;
    if (!this.node.hidden) {
      this.node.replaceChildren(
        ...known.map(([name, value]) => {
          const pair = element('div');
          pair.append(element('dt', '', name), element('dd', '', value));
          return pair;
        })
      );
    }
  }

  private _open = false;
  private _figures: IFigures | null = null;
}
