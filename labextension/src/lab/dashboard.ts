import { DockPanelSvg } from '@jupyterlab/ui-components';
import type { JSONObject } from '@lumino/coreutils';
import { Signal, type ISignal } from '@lumino/signaling';
import { BoxLayout, Widget } from '@lumino/widgets';

import { Headline } from '../dashboard/headline';
import { PANELS, type IPanel } from '../dashboard/panels';
import { scopeOf } from '../dashboard/scope';
import { DashboardToolbar } from '../dashboard/toolbar';
import { button, element, type IView } from '../view';
import { CommandIds } from './commandIds';
import type { IContext } from './context';
import { readLayout, writeLayout } from './dashboardLayout';

/** The dashboard in the main area: each of its panels is a tab, to be laid out as people like. */
export class Dashboard extends Widget {
  /** `layout`: as `arrangement` had it, or anything else for that of the beginning; `low`: there is little height. */
  constructor(
    private readonly _context: IContext,
    layout: unknown,
    private readonly _low: boolean
  ) {
    super();
    this.addClass('jp-StreaminferDashboard');
    this._panels = PANELS.map(panel => new PanelWidget(panel, _context));
    const words = element('div', 'jp-Streaminfer jp-StreaminferDashboard-words');
    const head = new Widget();
    head.addClass('jp-StreaminferDashboard-head');
    head.node.append(words);
    this._views = [new DashboardToolbar(words, _context.live), new Headline(words, _context.live)];
    const reset = button(_context.trans.__('Reset layout'), 'jp-Streaminfer-button', () => {
      void _context.commands.execute(CommandIds.resetDashboard);
    });
    words.firstElementChild?.append(reset);
    const boxes = new BoxLayout({ direction: 'top-to-bottom', spacing: 0 });
    BoxLayout.setStretch(head, 0);
    BoxLayout.setStretch(this._dock, 1);
    boxes.addWidget(head);
    boxes.addWidget(this._dock);
    this.layout = boxes;
    this.arrange(layout);
    this._dock.layoutModified.connect(() => {
      this._rearranged.emit();
    });
    this._height = new ResizeObserver(() => {
      head.node.style.minHeight = `${words.offsetHeight}px`; // The words wrap; the box asks for this.
      this.fit();
    });
    this._height.observe(words);
    _context.choices.changed.connect(() => {
      this._reach();
    }, this);
    this._reach();
  }

  /** How its panels are laid out, as JSON. */
  get arrangement(): JSONObject {
    return writeLayout(this._dock.saveLayout());
  }

  /** The arrangement is another one now. */
  get rearranged(): ISignal<this, void> {
    return this._rearranged;
  }

  /** Lay the panels out; as in the beginning, where the layout is none. */
  arrange(layout: unknown): void {
    this._dock.restoreLayout(readLayout(layout, this._panels, this._low));
    for (const panel of this._panels) {
      if (!panel.parent) {
        this._dock.addWidget(panel); // It is newer than the layout.
      }
    }
  }

  override dispose(): void {
    this._height.disconnect();
    this._context.choices.changed.disconnect(() => {
      this._reach();
    }, this);
    this._views.forEach(view => {
      view.dispose();
    });
    super.dispose();
  }

  /** Have the charts reach back as far as is set. */
  private _reach(): void {
    scopeOf(this._context.live).set({ seconds: 60 * this._context.choices.now.historyMinutes });
  }

  private readonly _dock = new DockPanelSvg({ tabsConstrained: true, spacing: 4 });
  private readonly _panels: PanelWidget[];
  private readonly _views: IView[];
  private readonly _height: ResizeObserver;
  private readonly _rearranged = new Signal<this, void>(this);
}

/** A panel as a tab. */
class PanelWidget extends Widget {
  constructor({ id, title, create }: IPanel, { live, trans }: IContext) {
    super();
    this.id = id;
    this.addClass('jp-Streaminfer');
    this.addClass('jp-StreaminferDashboard-panel');
    this.title.label = trans.__(title);
    this.node.setAttribute('aria-label', trans.__(title));
    this.node.tabIndex = 0; // It scrolls, so the keyboard has to get there.
    this._view = create(this.node, live);
  }

  override dispose(): void {
    this._view.dispose();
    super.dispose();
  }

  private readonly _view: IView;
}
