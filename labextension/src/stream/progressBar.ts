import { element } from '../view';
import type { IProgress } from './snapshot';

/** How far a run is. */
export class ProgressBar {
  readonly node = element('div', 'jp-TokenStream-progress');

  constructor() {
    this.node.setAttribute('role', 'progressbar');
    this.node.setAttribute('aria-label', 'Progress');
    this.node.setAttribute('aria-valuemin', '0');
    this.node.setAttribute('aria-valuemax', '100');
    this.node.append(this._filled, this._step);
  }

  /** Show it, or nothing. */
  show(progress: IProgress | null): void {
    const { value, message } = progress ?? { value: 0, message: '' };
    const percent = Math.round(value * 100);
    this.node.hidden = !progress;
    this.node.setAttribute('aria-valuenow', `${percent}`);
    this.node.setAttribute('aria-valuetext', message ? `${percent} %: ${message}` : `${percent} %`);
    this._filled.style.width = `${value * 100}%`;
    this._step.textContent = message || `${percent} %`;
  }

  private readonly _filled = element('div', 'jp-TokenStream-filled');
  private readonly _step = element('div', 'jp-TokenStream-step');
}
