import type { ILabShell, ILayoutRestorer, JupyterFrontEnd } from '@jupyterlab/application';
import { MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import type { LabIcon } from '@jupyterlab/ui-components';
import type { ReadonlyPartialJSONObject } from '@lumino/coreutils';
import { TabPanel, type Widget } from '@lumino/widgets';

/** Something of which the page has at most one, in its main area. */
export interface IMainOptions<T extends Widget> {
  id: string;
  label: string;
  icon: LabIcon;
  /** The command that opens it. */
  command: string;
  create(args: ReadonlyPartialJSONObject): Promise<T>;
  /** What the command gets when the workspace is restored. */
  args?(content: T): ReadonlyPartialJSONObject;
}

const LOW_AREA = 'down';
const LOW_CLASS = 'jp-StreaminferLow';

/** Where such a thing goes: the main area of Notebook 7 has one widget, the notebook, so there it goes below that. */
export function areaOf(shell: ILabShell | null): string {
  return shell ? 'main' : LOW_AREA;
}

/** Opens that widget, and has the workspace remember it. */
export class MainArea<T extends Widget> {
  constructor(
    private readonly _app: JupyterFrontEnd,
    private readonly _options: IMainOptions<T>,
    private readonly _area: string,
    restorer: ILayoutRestorer | null
  ) {
    this._tracker = new WidgetTracker({ namespace: _options.id });
    void restorer?.restore(this._tracker, {
      command: _options.command,
      args: ({ content }) => _options.args?.(content) ?? {},
      name: () => _options.id
    });
  }

  /** Its content, if it is open. */
  get content(): T | null {
    return this._widget?.content ?? null;
  }

  /** Show it. */
  async open(args: ReadonlyPartialJSONObject): Promise<T> {
    // Whoever asks while it is being made waits for the same one.
    const widget = await (this._made ??= this._make(args).catch((reason: unknown) => {
      this._made = null;
      throw reason;
    }));
    if (!widget.isAttached) {
      this._app.shell.add(widget, this._area);
    }
    if (!this._tracker.has(widget)) {
      await this._tracker.add(widget);
    }
    this._app.shell.activateById(widget.id);
    const tabs = widget.parent?.parent;
    if (tabs instanceof TabPanel) {
      tabs.currentWidget = widget; // Notebook 7 opens that area and leaves its tabs as they are.
    }
    return widget.content;
  }

  /** Have the workspace remember it as it is now. */
  save(): void {
    if (this._widget && this._tracker.has(this._widget)) {
      void this._tracker.save(this._widget);
    }
  }

  private async _make(args: ReadonlyPartialJSONObject): Promise<MainAreaWidget<T>> {
    const { id, label, icon } = this._options;
    const widget = new MainAreaWidget({ content: await this._options.create(args) });
    widget.id = id;
    widget.title.label = widget.title.caption = label;
    widget.title.icon = icon;
    widget.title.closable = true;
    widget.toolbar.hide();
    widget.toggleClass(LOW_CLASS, this._area === LOW_AREA);
    widget.disposed.connect(() => {
      this._widget = this._made = null;
    });
    this._widget = widget;
    return widget;
  }

  private readonly _tracker: WidgetTracker<MainAreaWidget<T>>;
  private _made: Promise<MainAreaWidget<T>> | null = null;
  private _widget: MainAreaWidget<T> | null = null;
}
