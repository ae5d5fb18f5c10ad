import { Notification } from '@jupyterlab/apputils';

import type { SourceState } from '../metrics/source';
import type { Alert, ModelStatus } from '../protocol';
import { CommandIds } from './commandIds';
import type { IContext } from './context';
import { label } from './words';

/** A server that comes back sooner was only restarted, or the page slept: not worth a word. */
const UNREACHABLE_MS = 5000;
const SHOWN_MS = 10_000;

/** Notifies of alerts that begin and end, of loads that fail, and once of a server that cannot be reached. */
export class Notifier {
  constructor(private readonly _context: IContext) {
    _context.choices.changed.connect(() => {
      this._settle();
    }, this);
    this._settle();
  }

  private _settle(): void {
    if (this._context.choices.now.notifications) {
      this._end ??= this._context.live.subscribe(['metrics', 'models'], {
        metrics: ({ alerts }) => {
          this._alertsAre(alerts);
        },
        models: models => {
          this._modelsAre(models);
        },
        state: state => {
          this._stateIs(state);
        }
      });
    } else {
      this._end?.();
      this._end = this._failed = null;
      this._firing.clear();
      this._reachable();
    }
  }

  private _alertsAre(alerts: readonly Alert[]): void {
    const { trans } = this._context;
    const firing = new Set(alerts.map(({ name }) => name));
    for (const { name, message } of alerts) {
      if (!this._firing.has(name)) {
        const id = Notification.warning(`${label(name)}: ${message}`, {
          autoClose: SHOWN_MS,
          actions: [this._action(trans.__('Open dashboard'), CommandIds.dashboard)]
        });
        this._firing.set(name, id);
      }
    }
    for (const [name, id] of this._firing) {
      if (!firing.has(name)) {
        this._firing.delete(name);
        Notification.dismiss(id);
        Notification.success(trans.__('Alert over: %1', label(name)), { autoClose: SHOWN_MS });
      }
    }
  }

  private _modelsAre(models: readonly ModelStatus[]): void {
    const { trans } = this._context;
    const failed = new Set<string>();
    for (const { name, version, state, error } of models) {
      const key = `${name}@${version}`;
      if (state === 'failed') {
        failed.add(key);
        // What had failed before this page looked is not news.
        if (this._failed && !this._failed.has(key)) {
          Notification.error(trans.__('Loading %1 failed: %2', label(key), error?.message ?? ''), {
            autoClose: SHOWN_MS,
            actions: [this._action(trans.__('Show models'), CommandIds.sidebar)]
          });
        }
      }
    }
    this._failed = failed;
  }

  private _stateIs(state: SourceState): void {
    if (state === 'live' || this._context.live.absent) {
      this._reachable();
    } else if (state === 'disconnected' || state === 'failed') {
      this._timer ||= window.setTimeout(() => {
        const words = this._context.trans.__('The streaming inference engine of this server cannot be reached.');
        this._unreachable = Notification.warning(words, { autoClose: false });
      }, UNREACHABLE_MS);
    }
  }

  private _reachable(): void {
    window.clearTimeout(this._timer);
    this._timer = 0;
    if (this._unreachable !== null) {
      Notification.dismiss(this._unreachable);
      this._unreachable = null;
    }
  }

  private _action(label: string, id: string): Notification.IAction {
    return { label, callback: () => void this._context.commands.execute(id) };
  }

  /** Notifications by the alert that they told of. */
  private readonly _firing = new Map<string, string>();
  /** The versions that failed; null before the first sample. */
  private _failed: Set<string> | null = null;
  private _timer = 0;
  private _unreachable: string | null = null;
  private _end: (() => void) | null = null;
}
