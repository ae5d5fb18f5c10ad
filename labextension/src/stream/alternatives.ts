import { element } from '../view';
import { LEVELS, percent, type IToken } from './confidence';
import { visible } from './visible';

const HINT = 'Point at a token, or go from one to the next with the arrow keys, to see what else was likely.';

/** What the shading means, and what else was likely in place of one token. Of a fixed height: nothing jumps. */
export class Alternatives {
  readonly node = element('div', 'jp-TokenStream-alternatives');

  constructor() {
    const legend = element('div', 'jp-TokenStream-legend', 'Probability');
    for (const { level, words } of LEVELS) {
      const key = element('span', 'jp-TokenStream-token', words);
      key.dataset.level = level;
      legend.append(key);
    }
    this._choices = element('div', 'jp-TokenStream-choices');
    this._choices.setAttribute('role', 'status');
    this._choices.tabIndex = 0;
    this._choices.setAttribute('aria-label', 'Alternatives');
    this.node.append(legend, this._choices);
    this.show(null);
  }

  /** Show what else was likely at a token's place. */
  show(token: IToken | null): void {
    if (token === this._shown) {
      return;
    }
    this._shown = token;
    if (!token || token.logprob === null) {
      this._choices.replaceChildren(element('span', 'jp-TokenStream-hint', HINT));
      return;
    }
    const chosen = element('strong', 'jp-TokenStream-chosen');
    chosen.append(...describe(token.text, token.logprob));
    this._choices.replaceChildren(chosen);
    for (const { text, logprob } of token.top) {
      const choice = element('span', 'jp-TokenStream-choice');
      choice.append(...describe(text, logprob));
      choice.style.setProperty('--ts-share', percent(logprob).replace('<', '').replace(' ', ''));
      this._choices.append(choice);
    }
  }

  private readonly _choices: HTMLElement;
  private _shown: IToken | null | undefined;
}

/** `“ the” 87.1 %`; whatever direction the token has, the rest keeps its place. */
function describe(text: string, logprob: number): Node[] {
  const token = element('bdi', '', `“${visible(text).replace(/\n/g, '↵').replace(/\t/g, '⇥')}”`);
  return [token, document.createTextNode(` ${percent(logprob)}`)];
}
