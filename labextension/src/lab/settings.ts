import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { Signal, type ISignal } from '@lumino/signaling';

/** What people set; `schema/plugin.json` says what it means. */
export interface IChoices {
  statusBar: boolean;
  notifications: boolean;
  historyMinutes: number;
  streamsShown: number;
}

const DEFAULTS: IChoices = { statusBar: true, notifications: true, historyMinutes: 5, streamsShown: 50 };

/** The settings, or their defaults where the page has no registry of settings; the registry checks them by the schema. */
export class Choices {
  get now(): IChoices {
    return this._now;
  }

  /** They are different from now on. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Follow what is set for the plugin `id`, where there is a registry of settings. */
  async follow(registry: ISettingRegistry | null, id: string): Promise<void> {
    const settings = await registry?.load(id);
    if (!settings) {
      return;
    }
    const take = () => {
      this._now = { ...DEFAULTS, ...(settings.composite as Partial<IChoices>) };
      this._changed.emit();
    };
    settings.changed.connect(take);
    take();
  }

  private _now = DEFAULTS;
  private readonly _changed = new Signal<this, void>(this);
}
