import type { TranslationBundle } from '@jupyterlab/translation';

import type { StreamStatus } from '../protocol';
import { button, element } from '../view';
import type { IItem } from './itemList';
import { label, rate, time } from './words';

type Oddity = NonNullable<StreamStatus['odd']>[number];

export const STREAM_CLASS = 'jp-StreaminferStream';

/** One stream that is under way: whose it is, how fast, what is odd about it, and a way to end it. */
export class StreamItem implements IItem<StreamStatus> {
  readonly node = element('li', STREAM_CLASS);

  constructor(
    private readonly _stop: (stream: string) => Promise<boolean>,
    private readonly _trans: TranslationBundle
  ) {
    this._button = button(_trans.__('Stop'), 'jp-Streaminfer-button', () => {
      this.remove();
    });
    const words = element('div', 'jp-StreaminferStream-words');
    words.append(this._model, this._figures, this._odd);
    this.node.append(words, this._button);
  }

  show(status: StreamStatus): void {
    const trans = this._trans;
    const model = `${label(status.model)}@${label(status.version)}`;
    this._stream = status.stream;
    this.node.dataset.stream = status.stream;
    this.node.title = [status.stream, status.client && trans.__('of %1', label(status.client))]
      .filter(Boolean)
      .join('\n');
    const figures = [
      status.paused ? trans.__('paused') : typeof status.queue_ms !== 'number' ? trans.__('waiting') : '',
      typeof status.tokens_per_s !== 'number' ? '' : trans.__('%1 tokens/s', rate(status.tokens_per_s)),
      trans._n('%1 token', '%1 tokens', status.tokens ?? 0),
      time(status.age_ms)
    ]
      .filter(Boolean)
      .join(' · ');
    const odd = (status.odd ?? []).map(each => this._wordFor(each));
    this._model.textContent = model;
    this._figures.textContent = figures;
    this._odd.hidden = odd.length === 0;
    this._odd.textContent = odd.join(', ');
    this._button.setAttribute('aria-label', trans.__('Stop the stream of %1', model));
    this.node.setAttribute('aria-label', [model, figures, ...odd].join(', '));
  }

  remove(): void {
    if (this._button.disabled) {
      return;
    }
    this._button.disabled = true;
    this._button.textContent = this._trans.__('Stopping…');
    this.node.focus(); // A disabled button would let the focus go.
    void this._stop(this._stream).then(taken => {
      if (!taken) {
        this._button.disabled = false;
        this._button.textContent = this._trans.__('Stop');
      }
    });
  }

  private _wordFor(odd: Oddity): string {
    const words: Record<Oddity, string> = {
      repeating: this._trans.__('repeats itself'),
      stalled: this._trans.__('stalled'),
      long: this._trans.__('unusually long'),
      short: this._trans.__('unusually short')
    };
    return words[odd];
  }

  private _stream = '';
  private readonly _model = element('div', 'jp-StreaminferStream-model');
  private readonly _figures = element('div', 'jp-StreaminferStream-figures');
  private readonly _odd = element('div', 'jp-StreaminferStream-odd');
  private readonly _button: HTMLButtonElement;
}
