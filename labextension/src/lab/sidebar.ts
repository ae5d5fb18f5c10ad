import { Widget } from '@lumino/widgets';

import type { SourceState } from '../metrics/source';
import type { Alert, ErrorInfo, ModelStatus, StreamStatus } from '../protocol';
import { button, element } from '../view';
import { STREAMS } from './actions';
import { AlertItem } from './alertItem';
import { CommandIds } from './commandIds';
import type { IContext } from './context';
import { ItemList } from './itemList';
import { ModelItem, type IModelActions, type IModelRow } from './modelItem';
import { Problem } from './problem';
import { Section } from './section';
import { SourceMessage } from './sourceMessage';
import { StreamItem } from './streamItem';
import { streaminferIcon } from './icon';

/** The models, the streams that are under way and the alerts that fire. It listens while it is shown. */
export class Sidebar extends Widget {
  constructor(private readonly _context: IContext) {
    super();
    const { trans, commands, actions } = _context;
    this.id = 'jp-streaminfer-sidebar';
    this.addClass('jp-Streaminfer');
    this.addClass('jp-StreaminferSidebar');
    this.title.icon = streaminferIcon;
    this.title.caption = trans.__('Streaming Inference');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', trans.__('Streaming Inference'));
    this._message = new SourceMessage(_context);
    this._alerts = new Section(trans.__('Alerts'));
    this._alertList = new ItemList<Alert>(
      trans.__('Alerts'),
      alert => alert.name,
      () => new AlertItem()
    );
    this._alerts.body.append(this._alertList.node);
    this._models = new Section(trans.__('Models'));
    this._modelList = new ItemList<IModelRow>(
      trans.__('Models'),
      ({ status }) => `${status.name}@${status.version}`,
      () => new ModelItem(actions, row => this._callsFor(row), trans)
    );
    this._models.body.append(this._modelList.node);
    this._models.empty = trans.__(
      'No model is loaded. “Load…” takes the bundled “demo”, a folder on the server, or module:factory.'
    );
    this._streams = new Section(trans.__('Active streams'));
    this._streamList = new ItemList<StreamStatus>(
      trans.__('Active streams'),
      status => status.stream,
      () => new StreamItem(stream => actions.stop(stream), trans)
    );
    this._problem = new Problem(trans.__('Dismiss'), () => {
      actions.forget(STREAMS);
    });
    this._streams.body.before(this._problem.node);
    this._streams.body.append(this._streamList.node);
    this._streams.empty = trans.__('None.');
    const bar = element('div', 'jp-StreaminferSidebar-bar');
    const offer = (words: string, id: string) =>
      button(words, 'jp-Streaminfer-button', () => void commands.execute(id));
    bar.append(
      offer(trans.__('Load…'), CommandIds.load),
      offer(trans.__('Dashboard'), CommandIds.dashboard),
      offer(trans.__('Playground'), CommandIds.playground)
    );
    this._body.append(this._alerts.node, this._models.node, this._streams.node);
    this.node.append(bar, this._message.node, this._body);
    const draw = () => {
      this._draw();
    };
    actions.changed.connect(draw, this);
    _context.choices.changed.connect(draw, this);
  }

  override dispose(): void {
    this._rest();
    super.dispose();
  }

  protected override onAfterShow(): void {
    this._listen();
  }

  protected override onAfterAttach(): void {
    if (this.isVisible) {
      this._listen();
    }
  }

  protected override onBeforeHide(): void {
    this._rest();
  }

  protected override onBeforeDetach(): void {
    this._rest();
  }

  protected override onActivateRequest(): void {
    (this.node.querySelector<HTMLElement>('[tabindex="0"]') ?? this.node.querySelector('button'))?.focus();
  }

  private _listen(): void {
    this._end ??= this._context.live.subscribe(['metrics', 'models', 'streams'], {
      models: models => {
        this._latest.models = models;
        this._soon();
      },
      streams: ({ streams, open = 0 }) => {
        this._latest.streams = streams.filter(each => each.state === 'open');
        this._latest.open = open;
        this._soon();
      },
      metrics: ({ alerts }) => {
        this._latest.alerts = alerts;
        this._soon();
      },
      state: (state, error) => {
        this._tell(state, error);
      }
    });
  }

  private _rest(): void {
    this._end?.();
    this._end = null;
    cancelAnimationFrame(this._frame);
    this._frame = 0;
  }

  private _tell(state: SourceState, error: ErrorInfo | null): void {
    this._message.show(state, error);
    this.node.dataset.state = state;
    this._body.hidden = this._context.live.absent;
  }

  private _soon(): void {
    this._frame ||= requestAnimationFrame(() => {
      this._draw();
    });
  }

  private _draw(): void {
    this._frame = 0;
    const { trans, actions, choices } = this._context;
    const { alerts, models, streams, open } = this._latest;
    this._alerts.node.hidden = alerts.length === 0;
    this._alerts.count(alerts.length);
    this._alertList.show(alerts);
    if (models) {
      this._models.count(models.length);
      this._modelList.show(rows(models));
    }
    if (streams) {
      const shown = streams.slice(0, choices.now.streamsShown);
      const more = open - shown.length;
      this._streams.count(open);
      this._streamList.show(shown);
      if (more) {
        this._streams.say(trans.__('and %1 more', more));
      }
    }
    this._problem.show(actions.problem(STREAMS)?.message ?? '', false);
  }

  private _callsFor({ status, alone }: IModelRow): IModelActions {
    const { commands, actions } = this._context;
    const { name, version, path, placement, pinned } = status;
    const does = (id: string) => () => void commands.execute(id, { name, version });
    return {
      play: () => {
        const ref = (status.latest ?? true) ? name : `${name}@${version}`;
        void commands.execute(CommandIds.playground, { name: ref });
      },
      swap: does(CommandIds.swap),
      rollBack: does(CommandIds.rollBack),
      activate: does(CommandIds.activate),
      again: () => {
        const placed = placement === 'thread' || placement === 'process' ? ({ placement } as const) : {};
        void (alone ? actions.load({ name, path, pinned, ...placed }) : actions.swap(name, { path }));
      },
      unload: () => {
        const which = alone ? null : version;
        void (status.state === 'failed' || status.state === 'loading'
          ? actions.forgetModel(name, which)
          : actions.unload(name, which, status.active ?? 0));
      }
    };
  }

  private readonly _message: SourceMessage;
  private readonly _body = element('div', 'jp-StreaminferSidebar-body');
  private readonly _alerts: Section;
  private readonly _alertList: ItemList<Alert>;
  private readonly _models: Section;
  private readonly _modelList: ItemList<IModelRow>;
  private readonly _streams: Section;
  private readonly _problem: Problem;
  private readonly _streamList: ItemList<StreamStatus>;
  private readonly _latest: ILatest = { alerts: [], models: null, streams: null, open: 0 };
  private _frame = 0;
  private _end: (() => void) | null = null;
}

interface ILatest {
  alerts: Alert[];
  /** Null before the first sample. */
  models: ModelStatus[] | null;
  streams: StreamStatus[] | null;
  /** How many there are, listed or not. */
  open: number;
}

/** The versions by name, of each name the latest first. */
function rows(models: readonly ModelStatus[]): IModelRow[] {
  const names = new Map<string, number>();
  for (const { name } of models) {
    names.set(name, (names.get(name) ?? 0) + 1);
  }
  return [...models]
    .sort((a, b) => a.name.localeCompare(b.name) || Number(b.latest ?? true) - Number(a.latest ?? true))
    .map(status => ({ status, alone: names.get(status.name) === 1 }));
}
