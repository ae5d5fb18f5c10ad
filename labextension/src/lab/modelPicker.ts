import type { TranslationBundle } from '@jupyterlab/translation';

import type { ModelStatus } from '../protocol';
import { element } from '../view';
import { checkbox, Field } from './field';
import { label } from './words';

const MOST = 6;

/** The models that generate and are ready, to choose some from, to be compared. */
export class ModelPicker {
  readonly node = element('fieldset', 'jp-StreaminferPicker');

  constructor(private readonly _trans: TranslationBundle) {
    this._fault.setAttribute('role', 'alert');
    this._fault.hidden = true;
    this._words.textContent = _trans.__('No model that generates is ready. Load one in the sidebar.');
    this.node.append(element('legend', '', _trans.__('Models')), this._boxes, this._words, this._fault);
  }

  /** What there is now; what was chosen stays chosen. */
  show(models: readonly ModelStatus[]): void {
    const ready = models.filter(({ state, info }) => state === 'ready' && info?.task === 'generate');
    this._chatting = new Set(ready.filter(({ info }) => info?.chat).map(refOf));
    const refs = ready.map(refOf).sort((a, b) => a.localeCompare(b));
    if (refs.join('\n') === this._refs.join('\n')) {
      return;
    }
    const focused = document.activeElement instanceof HTMLInputElement ? document.activeElement.value : null;
    const within = this._boxes.contains(document.activeElement);
    this._refs = refs;
    this._words.hidden = refs.length > 0;
    if (!this._touched && !refs.some(ref => this._chosen.has(ref))) {
      refs.slice(0, 1).forEach(ref => this._chosen.add(ref));
    }
    this._boxes.replaceChildren(...refs.map(ref => this._box(ref)));
    if (within && focused !== null) {
      this._boxes.querySelector<HTMLInputElement>(`input[value="${CSS.escape(focused)}"]`)?.focus();
    }
  }

  /** Choose these. */
  choose(refs: readonly string[]): void {
    this._touched = true;
    this._chosen.clear();
    refs.forEach(ref => this._chosen.add(ref));
    this._boxes.replaceChildren(...this._refs.map(ref => this._box(ref)));
  }

  /** Whether it takes a chat. */
  chats(ref: string): boolean {
    return this._chatting.has(ref);
  }

  /** Those that are chosen and ready; null where there are none or too many, which is said. */
  read(): string[] | null {
    const chosen = this._refs.filter(ref => this._chosen.has(ref));
    const fault =
      chosen.length === 0
        ? this._trans.__('Choose a model.')
        : chosen.length > MOST
          ? this._trans.__('Choose at most %1.', MOST)
          : '';
    this._fault.textContent = fault;
    this._fault.hidden = fault === '';
    if (fault) {
      this._boxes.querySelector('input')?.focus();
    }
    return fault ? null : chosen;
  }

  private _box(ref: string): HTMLElement {
    const input = checkbox(this._chosen.has(ref));
    input.value = ref;
    input.addEventListener('change', () => {
      this._touched = true;
      if (input.checked) {
        this._chosen.add(ref);
      } else {
        this._chosen.delete(ref);
      }
    });
    return new Field(label(ref), input).node;
  }

  private _refs: string[] = [];
  private _chatting: ReadonlySet<string> = new Set();
  private readonly _chosen = new Set<string>();
  /** Whether anybody chose; until then it is the first. */
  private _touched = false;
  private readonly _boxes = element('div', 'jp-StreaminferPicker-boxes');
  private readonly _words = element('div', 'jp-StreaminferSection-words');
  private readonly _fault = element('div', 'jp-StreaminferField-error');
}

/** By its name alone, which is the latest; by `name@version` where it is another version. */
function refOf({ name, version, latest }: ModelStatus): string {
  return (latest ?? true) ? name : `${name}@${version}`;
}
