import { Signal, type ISignal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import type { SourceState } from '../metrics/source';
import type { Metrics } from '../protocol';
import { button, element } from '../view';
import { CommandIds } from './commandIds';
import type { IContext } from './context';
import { bytes, count, rate, time } from './words';

/** What the status bar says: open streams, tokens a second, and the time to the first token. Opens the dashboard. */
export class StatusItem extends Widget {
  constructor(private readonly _context: IContext) {
    super();
    this.addClass('jp-StreaminferStatus');
    this._button = button('', 'jp-StreaminferStatus-button', () => {
      void _context.commands.execute(CommandIds.dashboard);
    });
    this._button.append(this._streams, this._rate, this._latency);
    this.node.append(this._button);
    _context.choices.changed.connect(() => {
      this._settle();
    }, this);
    this._settle();
  }

  /** Whether it is wanted, and there is something to say. */
  get wanted(): boolean {
    return this._context.choices.now.statusBar && this._state !== 'failed';
  }

  /** `wanted` is another now. */
  get wantedChanged(): ISignal<this, void> {
    return this._wantedChanged;
  }

  override dispose(): void {
    this._end?.();
    this._context.choices.changed.disconnect(() => {
      this._settle();
    }, this);
    super.dispose();
  }

  /** Listen while it is wanted. */
  private _settle(): void {
    if (this._context.choices.now.statusBar) {
      this._end ??= this._context.live.subscribe(['metrics'], {
        metrics: sample => {
          this._latest = sample;
          this._soon();
        },
        state: state => {
          this._state = state;
          this._soon();
          this._wantedChanged.emit();
        }
      });
    } else {
      this._end?.();
      this._end = null;
    }
    this._wantedChanged.emit();
  }

  private _soon(): void {
    this._frame ||= requestAnimationFrame(() => {
      this._frame = 0;
      this._draw();
    });
  }

  private _draw(): void {
    const { trans } = this._context;
    const sample = this._latest;
    const live = this._state === 'live' && sample !== null;
    this._button.dataset.state = this._state;
    this._rate.hidden = this._latency.hidden = !live;
    if (!live) {
      this._streams.textContent =
        this._state === 'disconnected' ? trans.__('Inference: reconnecting…') : trans.__('Inference: connecting…');
      this._button.title = trans.__('Open the streaming inference dashboard');
      return;
    }
    const ttft = sample.latencies.ttft_ms ?? null;
    this._streams.textContent = trans._n('%1 stream', '%1 streams', sample.streams_open);
    this._rate.textContent = trans.__('%1 tokens/s', rate(sample.traffic.tokens_out_per_s ?? 0));
    this._latency.textContent = ttft ? trans.__('TTFT %1', time(ttft.p95)) : '';
    this._latency.hidden = !ttft;
    this._button.title = this._details(sample).join('\n');
    this._button.dataset.alert = sample.alerts.length ? 'firing' : '';
  }

  private _details(sample: Metrics): string[] {
    const { trans } = this._context;
    const { ttft_ms: ttft, itl_ms: itl } = sample.latencies;
    return [
      trans.__('Streaming inference: open the dashboard'),
      trans.__('Streams open: %1', count(sample.streams_open)),
      trans.__(
        'Tokens per second: %1 out, %2 in',
        rate(sample.traffic.tokens_out_per_s ?? 0),
        rate(sample.traffic.tokens_in_per_s ?? 0)
      ),
      ttft ? trans.__('Time to first token: p50 %1, p95 %2', time(ttft.p50), time(ttft.p95)) : '',
      itl ? trans.__('Between tokens: p50 %1, p95 %2', time(itl.p50), time(itl.p95)) : '',
      trans.__('Memory: %1', bytes(sample.memory_bytes)),
      trans.__('Event loop late by: %1', time(sample.loop_lag_ms)),
      ...sample.alerts.map(({ message }) => trans.__('Alert: %1', message))
    ].filter(Boolean);
  }

  private readonly _button: HTMLButtonElement;
  private readonly _streams = element('span');
  private readonly _rate = element('span');
  private readonly _latency = element('span');
  private readonly _wantedChanged = new Signal<this, void>(this);
  private _latest: Metrics | null = null;
  private _state: SourceState = 'connecting';
  private _frame = 0;
  private _end: (() => void) | null = null;
}
