import type { SourceState } from '../metrics/source';
import type { ErrorInfo } from '../protocol';
import { button, element } from '../view';
import type { IContext } from './context';

/** Says why nothing comes, where nothing comes, and offers to try again once nothing is tried any more. */
export class SourceMessage {
  readonly node = element('div', 'jp-StreaminferMessage');

  constructor(private readonly _context: IContext) {
    this.node.setAttribute('role', 'status');
    this._again = button(_context.trans.__('Try again'), 'jp-Streaminfer-button', () => {
      _context.live.retry();
    });
    this.node.append(this._words, this._again);
    this.show('connecting', null);
  }

  show(state: SourceState, error: ErrorInfo | null): void {
    const { trans } = this._context;
    const words: Record<SourceState, string> = {
      connecting: trans.__('Connecting…'),
      live: '',
      disconnected: trans.__('The server does not answer. Reconnecting… What is shown is of before.'),
      failed: error?.message ?? trans.__('The server does not answer.')
    };
    this.node.hidden = state === 'live';
    this.node.dataset.state = this._context.live.absent ? 'absent' : state;
    this._words.textContent = words[state];
    this._again.hidden = state !== 'failed';
  }

  private readonly _words = element('div');
  private readonly _again: HTMLButtonElement;
}
