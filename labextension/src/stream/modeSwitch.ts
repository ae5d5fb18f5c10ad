import { button, element } from '../view';
import type { TextMode } from './textBody';

const LABELS: Record<TextMode, string> = { plain: 'Text', markdown: 'Markdown', tokens: 'Tokens' };

/** Chooses how the text is shown. */
export class ModeSwitch {
  readonly node = element('div', 'jp-TokenStream-modes');

  constructor(chosen: (mode: TextMode) => void) {
    this.node.setAttribute('role', 'group');
    this.node.setAttribute('aria-label', 'Show as');
    for (const mode of ['plain', 'markdown', 'tokens'] as const) {
      const choice = button(LABELS[mode], 'jp-TokenStream-mode', () => {
        chosen(mode);
      });
      this._choices.push([mode, choice]);
      this.node.append(choice);
    }
  }

  /** `tokens`: whether there is anything to say about single tokens. */
  show(current: TextMode, tokens: boolean): void {
    for (const [mode, choice] of this._choices) {
      choice.setAttribute('aria-pressed', `${mode === current}`);
      choice.hidden = mode === 'tokens' && !tokens;
    }
  }

  private readonly _choices: [TextMode, HTMLButtonElement][] = [];
}
