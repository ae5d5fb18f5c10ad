import type { Dialog } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';

import type { ErrorInfo, LoadModel } from '../protocol';
import { element } from '../view';
import { checkbox, choice, Field, text } from './field';

const NAME = '[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}';
const VERSION = '[A-Za-z0-9][A-Za-z0-9._\\-]{0,31}';
const PATH_CHARACTERS = 4096;
/** What the package brings along, loaded by its name alone. */
const BUNDLED = ['demo', 'digits'];
const DTYPES: readonly NonNullable<LoadModel['dtype']>[] = ['auto', 'float32', 'bfloat16', 'int8'];
const PLACEMENTS: readonly NonNullable<LoadModel['placement']>[] = ['auto', 'thread', 'process'];

/** Asks what to load, or what to swap a model to; shows what the server said of the answer before, if it refused it. */
export class ModelForm extends Widget implements Dialog.IBodyWidget<LoadModel> {
  /** `name`: the model to be swapped, or null for one to be loaded. */
  constructor(
    trans: TranslationBundle,
    private readonly _name: string | null,
    before: Partial<LoadModel>,
    error: ErrorInfo | null
  ) {
    super();
    this.addClass('jp-Streaminfer');
    this.addClass('jp-StreaminferForm');
    const name = text(before.name ?? '', 'demo');
    name.required = true;
    name.pattern = NAME;
    name.title = trans.__('1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit');
    name.setAttribute('list', 'jp-StreaminferForm-bundled');
    const path = text(before.path ?? '', _name === null ? trans.__('bundled model of that name') : '');
    path.maxLength = PATH_CHARACTERS;
    const version = text(before.version ?? '', trans.__('next number'));
    version.pattern = VERSION;
    version.title = trans.__('1 to 32 letters, digits, dots, underscores and hyphens, the first a letter or digit');
    this._inputs = {
      name: new Field(trans.__('Name'), name),
      path: new Field(
        trans.__('Path'),
        path,
        _name === null
          ? trans.__('A folder or file on the server, or module:factory. Empty: the bundled model of that name.')
          : trans.__('A folder or file on the server, or module:factory. Empty: the same files, read again.')
      ),
      version: new Field(trans.__('Version'), version),
      dtype: new Field(trans.__('Data type'), choice(DTYPES, before.dtype)),
      placement: new Field(trans.__('Computed in'), choice(PLACEMENTS, before.placement)),
      pinned: new Field(trans.__('Pinned: never unloaded for being idle'), checkbox(before.pinned)),
      activate: new Field(trans.__('Takes over as soon as it is ready'), checkbox(before.activate ?? true))
    };
    const shown: (keyof typeof this._inputs)[] =
      _name === null ? ['name', 'path', 'dtype', 'placement', 'pinned'] : ['path', 'version', 'activate'];
    this.node.append(...shown.map(each => this._inputs[each].node));
    const bundled = element('datalist');
    bundled.id = 'jp-StreaminferForm-bundled';
    bundled.append(...BUNDLED.map(each => new Option(each, each)));
    this.node.append(bundled);
    if (error) {
      this._show(error, shown);
    }
  }

  /** What was filled in; what was left as it was is absent. */
  getValue(): LoadModel {
    const { name, path, version, dtype, placement, pinned, activate } = this._inputs;
    return {
      name: this._name ?? name.input.value.trim(),
      ...(path.input.value.trim() && { path: path.input.value.trim() }),
      ...(version.input.value.trim() && { version: version.input.value.trim() }),
      ...(dtype.input.value !== 'auto' && { dtype: dtype.input.value as LoadModel['dtype'] }),
      ...(placement.input.value !== 'auto' && { placement: placement.input.value as LoadModel['placement'] }),
      ...(pinned.input.checked && { pinned: true }),
      ...(!activate.input.checked && { activate: false })
    };
  }

  private _show(error: ErrorInfo, shown: (keyof ModelForm['_inputs'])[]): void {
    const field = shown.find(each => each === error.field);
    if (field) {
      this._inputs[field].fault(error.message);
    } else {
      const words = element('div', 'jp-StreaminferField-error', error.message);
      words.setAttribute('role', 'alert');
      this.node.append(words);
    }
  }

  private readonly _inputs: {
    name: Field<HTMLInputElement>;
    path: Field<HTMLInputElement>;
    version: Field<HTMLInputElement>;
    dtype: Field<HTMLSelectElement>;
    placement: Field<HTMLSelectElement>;
    pinned: Field<HTMLInputElement>;
    activate: Field<HTMLInputElement>;
  };
}
