import type { TranslationBundle } from '@jupyterlab/translation';

import type { ISnapshot } from '../stream/snapshot';
import { button, element } from '../view';
import type { Question } from './code';
import { label } from './words';

const KEPT = 50;
const WORDS_SHOWN = 60;

/** One question to some models, and what each has answered so far. */
export interface IRun {
  at: Date;
  models: readonly string[];
  question: Question;
  answers: (ISnapshot | null)[];
}

/** The runs of this session, the newest first, to have one again. */
export class History {
  readonly node = element('section', 'jp-StreaminferHistory');

  /** `again`: what happens to a run that is chosen. */
  constructor(
    private readonly _again: (run: IRun) => void,
    trans: TranslationBundle
  ) {
    this.node.append(element('h3', 'jp-StreaminferSection-title', trans.__('Runs of this session')), this._list);
    this._list.setAttribute('role', 'list');
    this.node.hidden = true;
  }

  /** A run more; the oldest are forgotten. */
  add(run: IRun): void {
    const item = element('li');
    const { prompt, messages } = run.question;
    const words = (prompt ?? messages?.[messages.length - 1]?.content ?? '').slice(0, WORDS_SHOWN).replace(/\s+/g, ' ');
    const made = button('', 'jp-StreaminferHistory-run', () => {
      this._again(run);
    });
    made.append(
      element('span', 'jp-StreaminferHistory-words', words),
      element(
        'span',
        'jp-StreaminferHistory-about',
        `${run.at.toLocaleTimeString()} · ${run.models.map(label).join(', ')}`
      )
    );
    item.append(made);
    this._list.prepend(item);
    [...this._list.children].slice(KEPT).forEach(each => {
      each.remove();
    });
    this.node.hidden = false;
    this.choose(run, item);
  }

  /** The run that is shown. */
  choose(run: IRun, item = this._items.get(run)): void {
    if (item) {
      this._items.set(run, item);
      this._list.querySelector('[aria-current]')?.removeAttribute('aria-current');
      item.firstElementChild?.setAttribute('aria-current', 'true');
    }
  }

  private readonly _list = element('ol');
  private readonly _items = new WeakMap<IRun, HTMLElement>();
}
