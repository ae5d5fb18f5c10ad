import { element } from '../view';

/** A part of the sidebar: a heading with a count, what it holds, and what is said where it holds nothing. */
export class Section {
  readonly node = element('section', 'jp-StreaminferSection');
  readonly body = element('div', 'jp-StreaminferSection-body');
  /** What is said where there is nothing. */
  empty = '';

  constructor(title: string) {
    const heading = element('h3', 'jp-StreaminferSection-title', title);
    heading.append(this._count);
    this.say('');
    this.node.append(heading, this.body, this._words);
  }

  /** How many there are. */
  count(count: number): void {
    this._count.textContent = ` ${count}`;
    this.body.hidden = count === 0;
    this.node.classList.toggle('jp-mod-empty', count === 0);
    this.say(count === 0 ? this.empty : '');
  }

  /** Say something below what it holds. */
  say(words: string): void {
    this._words.textContent = words;
    this._words.hidden = words === '';
  }

  private readonly _count = element('span', 'jp-StreaminferSection-count');
  private readonly _words = element('div', 'jp-StreaminferSection-words');
}
