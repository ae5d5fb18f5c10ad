import type { IMetricsSource } from '../metrics/source';
import { element, type IView } from '../view';
import { Headline } from './headline';
import { PANELS } from './panels';
import { DashboardToolbar } from './toolbar';

/** The whole dashboard in one node: all panels in a grid. */
export class DashboardView implements IView {
  constructor(parent: HTMLElement, source: IMetricsSource) {
    this._root = element('section', 'jp-Streaminfer jp-Streaminfer-dashboard');
    this._root.setAttribute('aria-label', 'Dashboard');
    parent.append(this._root);
    this._views = [new DashboardToolbar(this._root, source), new Headline(this._root, source)];
    const grid = element('div', 'jp-Streaminfer-grid');
    this._root.append(grid);
    for (const { id, title, create } of PANELS) {
      const card = element('section', `jp-Streaminfer-frame jp-Streaminfer-card jp-Streaminfer-card-${id}`);
      const heading = element('h3', 'jp-Streaminfer-cardTitle', title);
      heading.id = `jp-Streaminfer-${id}-${this._number}`;
      card.setAttribute('aria-labelledby', heading.id);
      card.append(heading);
      grid.append(card);
      this._views.push(create(card, source));
    }
  }

  dispose(): void {
    this._views.forEach(view => {
      view.dispose();
    });
    this._root.remove();
  }

  private readonly _root: HTMLElement;
  private readonly _views: IView[];
  private readonly _number = (DashboardView._last += 1);
  private static _last = 0;
}
