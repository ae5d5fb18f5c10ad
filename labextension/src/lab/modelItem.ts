import type { TranslationBundle } from '@jupyterlab/translation';

import type { LoadProgress, ModelStatus } from '../protocol';
import { button, element } from '../view';
import type { Actions } from './actions';
import type { IItem } from './itemList';
import { Problem } from './problem';
import { bytes, count, label } from './words';

export const MODEL_CLASS = 'jp-StreaminferModel';

/** What the buttons of a model call. */
export interface IModelActions {
  swap(): void;
  rollBack(): void;
  activate(): void;
  unload(): void;
  again(): void;
  play(): void;
}

type Action = keyof IModelActions;

/** A version of a model, and whether it is the only one of its name. */
export interface IModelRow {
  status: ModelStatus;
  alone: boolean;
}

/** One version of a model: what it is, how far its load is, what can be done to it, what went wrong. */
export class ModelItem implements IItem<IModelRow> {
  readonly node = element('li', MODEL_CLASS);

  constructor(
    private readonly _actions: Actions,
    private readonly _calls: (row: IModelRow) => IModelActions,
    private readonly _trans: TranslationBundle
  ) {
    const trans = _trans;
    const head = element('div', 'jp-StreaminferModel-head');
    head.append(this._name, this._version, this._state);
    this._bar.setAttribute('role', 'progressbar');
    this._bar.setAttribute('aria-valuemin', '0');
    this._bar.setAttribute('aria-valuemax', '100');
    this._bar.append(this._filled);
    const labels: Record<Action, string> = {
      play: trans.__('Try'),
      swap: trans.__('Swap…'),
      rollBack: trans.__('Roll back'),
      activate: trans.__('Activate'),
      again: trans.__('Load again…'),
      unload: trans.__('Unload')
    };
    const buttons = element('div', 'jp-StreaminferModel-buttons');
    for (const [action, words] of Object.entries(labels) as [Action, string][]) {
      const made = button(words, 'jp-Streaminfer-button', () => {
        if (this._row) {
          this._calls(this._row)[action]();
        }
      });
      this._buttons.set(action, made);
      buttons.append(made);
    }
    this._problem = new Problem(trans.__('Dismiss'), () => {
      this.node.focus();
      _actions.forget(this._row?.status.name ?? '');
    });
    this.node.append(head, this._about, this._figures, this._bar, this._stage, this._problem.node, buttons);
  }

  show(row: IModelRow): void {
    this._row = row;
    const { status } = row;
    const trans = this._trans;
    this.node.dataset.name = status.name;
    this.node.dataset.version = status.version;
    this.node.dataset.state = status.state;
    this.node.dataset.active = `${status.active ?? 0}`;
    this.node.dataset.alone = row.alone ? 'alone' : '';
    this.node.setAttribute('aria-label', `${label(status.name)}@${label(status.version)}: ${this._stateOf(status)}`);
    set(this._name, label(status.name));
    set(this._version, `@${label(status.version)}`);
    set(this._state, this._stateOf(status));
    this.node.title = status.path;
    const { info } = status;
    set(
      this._about,
      [
        info && `${label(info.architecture)}, ${count(info.parameters)}`,
        info && `${label(info.device)} ${info.dtype}`,
        status.placement && status.placement !== 'auto' ? label(status.placement) : '',
        status.state === 'ready' && status.latest === false ? trans.__('stands by') : '',
        status.pinned ? trans.__('pinned') : ''
      ]
        .filter(Boolean)
        .join(' · ')
    );
    set(
      this._figures,
      [
        status.memory_bytes ? bytes(status.memory_bytes) : '',
        status.active ? trans.__('%1 active', count(status.active)) : '',
        status.requests ? trans._n('%1 request', '%1 requests', status.requests) : '',
        status.restarts ? trans._n('%1 restart', '%1 restarts', status.restarts) : ''
      ]
        .filter(Boolean)
        .join(' · ')
    );
    this._showProgress(status.progress ?? null);
    const refused = row.alone || (status.latest ?? true) ? this._actions.problem(status.name) : null;
    this._problem.show((status.error ?? refused)?.message ?? '', !!status.error);
    this._offer(row);
  }

  open(): void {
    // Where a pointer would have opened it: the menu of what can be done.
    const { left, bottom } = this._name.getBoundingClientRect();
    this.node.dispatchEvent(
      new MouseEvent('contextmenu', { bubbles: true, cancelable: true, clientX: left, clientY: bottom })
    );
  }

  remove(): void {
    if (this._row) {
      this._calls(this._row).unload();
    }
  }

  private _showProgress(progress: LoadProgress | null): void {
    this._bar.hidden = this._stage.hidden = !progress;
    if (!progress) {
      return;
    }
    const { stage, done_bytes: done = 0, total_bytes: total = 0 } = progress;
    const stages: Record<LoadProgress['stage'], string> = {
      waiting: this._trans.__('Waiting'),
      starting: this._trans.__('Starting'),
      reading: this._trans.__('Reading'),
      preparing: this._trans.__('Preparing'),
      'warming up': this._trans.__('Warming up')
    };
    const known = stage === 'reading' && total > 0;
    const words = known ? this._trans.__('%1: %2 of %3', stages[stage], bytes(done), bytes(total)) : stages[stage];
    set(this._stage, words);
    this._bar.setAttribute('aria-label', this._trans.__('Loading %1', label(this._row?.status.name ?? '')));
    this._bar.setAttribute('aria-valuetext', words);
    this._bar.classList.toggle('jp-mod-unknown', !known);
    if (known) {
      const percent = Math.min(100, (100 * done) / total);
      this._bar.setAttribute('aria-valuenow', percent.toFixed(0));
      this._filled.style.width = `${percent}%`;
    } else {
      this._bar.removeAttribute('aria-valuenow');
      this._filled.style.width = '';
    }
  }

  private _offer({ status, alone }: IModelRow): void {
    const { state } = status;
    const latest = status.latest ?? true;
    const task = status.info?.task;
    const offered: Record<Action, boolean> = {
      play: state === 'ready' && task === 'generate',
      swap: latest && (state === 'ready' || state === 'restarting'),
      rollBack: latest && !alone && (state === 'ready' || state === 'restarting'),
      activate: !latest && (state === 'ready' || state === 'unloaded' || state === 'retiring'),
      again: state === 'failed',
      unload: state !== 'unloading' && state !== 'retiring' && (latest || state !== 'unloaded')
    };
    const focused = document.activeElement;
    for (const [action, each] of this._buttons) {
      each.hidden = !offered[action];
    }
    const words: Partial<Record<ModelStatus['state'], string>> = {
      failed: this._trans.__('Remove'),
      loading: this._trans.__('Give up')
    };
    const unload = this._buttons.get('unload');
    if (unload) {
      unload.textContent = words[state] ?? this._trans.__('Unload');
    }
    this.node.dataset.offers = Object.entries(offered)
      .filter(([, can]) => can)
      .map(([action]) => action)
      .join(' ');
    if (focused instanceof HTMLElement && focused.hidden && this.node.contains(focused)) {
      this.node.focus();
    }
  }

  private _stateOf(status: ModelStatus): string {
    const words: Record<ModelStatus['state'], string> = {
      loading: this._trans.__('Loading'),
      ready: this._trans.__('Ready'),
      restarting: this._trans.__('Restarting'),
      retiring: this._trans.__('Retiring'),
      failed: this._trans.__('Failed'),
      unloading: this._trans.__('Unloading'),
      unloaded: this._trans.__('Unloaded')
    };
    return words[status.state];
  }

  private _row: IModelRow | null = null;
  private readonly _name = element('span', 'jp-StreaminferModel-name');
  private readonly _version = element('span', 'jp-StreaminferModel-version');
  private readonly _state = element('span', 'jp-Streaminfer-state jp-StreaminferModel-state');
  private readonly _about = element('div', 'jp-StreaminferModel-about');
  private readonly _figures = element('div', 'jp-StreaminferModel-figures');
  private readonly _bar = element('div', 'jp-StreaminferModel-progress');
  private readonly _filled = element('div', 'jp-StreaminferModel-filled');
  private readonly _stage = element('div', 'jp-StreaminferModel-stage');
  private readonly _problem: Problem;
  private readonly _buttons = new Map<Action, HTMLButtonElement>();
}

/** Write a text where it is another one: what does not change is not told to screen readers again. */
function set(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
  node.hidden = text === '';
}
