import type { IItem } from './desk';
import { button, element } from '../view';

/** With more classes than this, the likeliest are offered, and a search for the others. */
const ALL = 20;
const FOUND = 8;

/** The classes that a row may be, each with how sure the model is of it, and the key that stands for it. */
export class Choices {
  readonly node = element('div', 'jp-StreaminferReview-choices');

  constructor(private readonly _choose: (label: string) => void) {
    this._list.setAttribute('role', 'group');
    this._list.setAttribute('aria-label', 'Classes');
    this._search.type = 'search';
    this._search.autocomplete = 'off';
    this._search.addEventListener('input', () => {
      this._find();
    });
    this._results.setAttribute('role', 'group');
    this._results.setAttribute('aria-label', 'Found classes');
    this.node.append(this._list, this._search, this._results);
  }

  /** Offer the classes for a row; `former`: what was chosen before. */
  show(classes: readonly string[], item: IItem | null, former: string | null): void {
    const many = classes.length > ALL;
    const offered = many ? (item?.scores ?? []).map(([label]) => label) : classes;
    this._keys = keysOf(offered);
    this._classes = many ? classes : [];
    this._search.hidden = this._results.hidden = !many;
    this._search.disabled = !item;
    this._search.placeholder = `Search ${classes.length} classes (/)`;
    this._search.setAttribute('aria-label', this._search.placeholder);
    if (item !== this._item) {
      this._search.value = '';
      this._item = item;
    }
    this._find();
    const scores = new Map(item?.scores ?? []);
    while (this._buttons.length > offered.length) {
      this._buttons.pop()?.node.remove();
    }
    offered.forEach((label, place) => {
      if (place === this._buttons.length) {
        this._buttons.push(this._made(place));
      }
      const choice = this._buttons[place];
      const score = scores.get(label) ?? 0;
      const predicted = label === item?.label;
      const percent = Math.round(score * 100);
      choice.label = label;
      choice.name.textContent = label;
      choice.key.textContent = place < this._keys.length && this._keys[place] !== label ? this._keys[place] : '';
      choice.sure.style.width = `${score * 100}%`;
      choice.node.disabled = !item;
      choice.node.title = label;
      choice.node.classList.toggle('jp-mod-predicted', predicted);
      choice.node.classList.toggle('jp-mod-former', label === former);
      const key = this._keys[place] ? `, key ${this._keys[place]}` : '';
      const remarks = `${predicted ? ', predicted' : ''}${label === former ? ', chosen before' : ''}`;
      choice.node.setAttribute('aria-label', `${label}, ${percent} %${remarks}${key}`);
    });
  }

  /** The class that a key stands for, if any. */
  labelOf(key: string): string | null {
    const place = this._keys.indexOf(key);
    return this._buttons[place]?.label ?? null;
  }

  /** Go to the search, where there is one. */
  search(): boolean {
    if (this._search.hidden) {
      return false;
    }
    this._search.focus();
    return true;
  }

  /** Whether it is the search that the keys are typed into. */
  isSearch(target: EventTarget | null): boolean {
    return target === this._search;
  }

  /** Choose what was found first. */
  chooseFound(): void {
    if (this._found.length) {
      this._choose(this._found[0]);
    }
  }

  private _find(): void {
    const wanted = this._search.value.trim().toLowerCase();
    this._found = [];
    for (let place = 0; wanted && place < this._classes.length && this._found.length < FOUND; place++) {
      if (this._classes[place].toLowerCase().includes(wanted)) {
        this._found.push(this._classes[place]);
      }
    }
    this._results.textContent = '';
    for (const label of this._found) {
      this._results.append(
        button(label, 'jp-Streaminfer-button jp-StreaminferReview-found', () => {
          this._choose(label);
        })
      );
    }
    if (wanted && !this._found.length) {
      this._results.append(element('span', 'jp-StreaminferReview-none', 'No such class'));
    }
  }

  private _made(place: number): IChoice {
    const node = button('', 'jp-Streaminfer-button jp-StreaminferReview-choice', () => {
      this._choose(this._buttons[place].label);
    });
    const sure = element('span', 'jp-StreaminferReview-sure');
    const name = element('span', 'jp-StreaminferReview-name');
    const key = element('kbd', 'jp-StreaminferReview-key');
    node.append(sure, name, key);
    this._list.append(node);
    return { node, sure, name, key, label: '' };
  }

  private readonly _list = element('div', 'jp-StreaminferReview-classes');
  private readonly _search = element('input', 'jp-StreaminferReview-search');
  private readonly _results = element('div', 'jp-StreaminferReview-results');
  private readonly _buttons: IChoice[] = [];
  private _keys: string[] = [];
  private _classes: readonly string[] = [];
  private _found: string[] = [];
  private _item: IItem | null = null;
}

interface IChoice {
  node: HTMLButtonElement;
  sure: HTMLElement;
  name: HTMLElement;
  key: HTMLElement;
  label: string;
}

/** A class that is a digit has its own key; where not all are, the first ten have 1 to 9 and 0. */
function keysOf(labels: readonly string[]): string[] {
  return labels.every(label => /^\d$/.test(label))
    ? [...labels]
    : labels.slice(0, 10).map((_, place) => `${(place + 1) % 10}`);
}
