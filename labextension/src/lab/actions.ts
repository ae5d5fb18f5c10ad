import { Dialog, showDialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Signal, type ISignal } from '@lumino/signaling';

import type { ErrorInfo, LoadModel } from '../protocol';
import { ModelForm } from './modelForm';
import { ask, infoOf, path } from './rest';
import { label } from './words';

/** What problems with streams are kept by; no model can be called so. */
export const STREAMS = '/streams';

/** What people do to models and streams. What the server refuses is kept, by the name it is about, to be shown there. */
export class Actions {
  constructor(private readonly _trans: TranslationBundle) {}

  /** Another problem is there, or one is gone. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What became of the last thing done to a model, or to a stream (`STREAMS`), if it was refused. */
  problem(about: string): ErrorInfo | null {
    return this._problems.get(about) ?? null;
  }

  /** It was read. */
  forget(about: string): void {
    if (this._problems.delete(about)) {
      this._changed.emit();
    }
  }

  /** Ask what to load, and load it; what is refused is asked for again, with the reason. */
  async load(before: Partial<LoadModel> = {}): Promise<void> {
    await this._fill(this._trans.__('Load a model'), this._trans.__('Load'), null, before, form =>
      ask('models?wait=false', 'POST', form)
    );
  }

  /** Ask what to swap a model to, and have it loaded beside the version that serves. */
  async swap(name: string, before: Partial<LoadModel> = {}): Promise<void> {
    const title = this._trans.__('Swap %1', label(name));
    await this._fill(title, this._trans.__('Swap'), name, before, form => {
      const version: Partial<LoadModel> = { ...form };
      delete version.name; // It is in the address.
      return ask(`${path('models', name, 'versions')}?wait=false`, 'POST', version);
    });
  }

  /** Go back to the version that served before. */
  async rollBack(name: string): Promise<void> {
    await this._try(name, () => ask(`${path('models', name, 'rollback')}?wait=false`, 'POST'));
  }

  /** Have a version answer who names none. */
  async activate(name: string, version: string): Promise<void> {
    await this._try(name, () => ask(`${path('models', name, 'versions', version, 'activate')}?wait=false`, 'POST'));
  }

  /** Unload a version, or all of them (null); asks first, as what is under way is cancelled. */
  async unload(name: string, version: string | null, active: number): Promise<void> {
    const trans = this._trans;
    const what = version === null ? label(name) : `${label(name)}@${label(version)}`;
    const { button } = await showDialog({
      title: trans.__('Unload %1?', what),
      body: active
        ? trans._n('%1 request under way is cancelled.', '%1 requests under way are cancelled.', active)
        : trans.__('Its memory is freed.'),
      buttons: [Dialog.cancelButton({ label: trans.__('Cancel') }), Dialog.warnButton({ label: trans.__('Unload') })]
    });
    if (button.accept) {
      await this.forgetModel(name, version);
    }
  }

  /** Unload a version, or all of them (null), without a word: of what failed or is not ready nothing is lost. */
  async forgetModel(name: string, version: string | null): Promise<void> {
    const parts = version === null ? ['models', name] : ['models', name, 'versions', version];
    await this._try(name, () => ask(path(...parts), 'DELETE'));
  }

  /** End a stream. Whether that was taken. */
  async stop(stream: string): Promise<boolean> {
    return this._try(STREAMS, () => ask(path('streams', stream), 'DELETE'));
  }

  private async _fill(
    title: string,
    accept: string,
    name: string | null,
    before: Partial<LoadModel>,
    send: (form: LoadModel) => Promise<unknown>
  ): Promise<void> {
    let error: ErrorInfo | null = null;
    for (;;) {
      const body: ModelForm = new ModelForm(this._trans, name, before, error);
      const { button, value } = await showDialog<LoadModel>({
        title,
        body,
        buttons: [Dialog.cancelButton({ label: this._trans.__('Cancel') }), Dialog.okButton({ label: accept })],
        focusNodeSelector: 'input'
      });
      if (!button.accept || !value) {
        return;
      }
      this.forget(value.name);
      try {
        await send(value);
        return;
      } catch (thrown) {
        error = infoOf(thrown);
        before = value;
      }
    }
  }

  private async _try(about: string, action: () => Promise<unknown>): Promise<boolean> {
    this.forget(about);
    try {
      await action();
      return true;
    } catch (error) {
      this._problems.set(about, infoOf(error));
      this._changed.emit();
      return false;
    }
  }

  private readonly _problems = new Map<string, ErrorInfo>();
  private readonly _changed = new Signal<this, void>(this);
}
