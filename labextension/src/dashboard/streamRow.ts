import { say } from '../charts/units';
import type { StreamStatus } from '../protocol';
import { button, element } from '../view';

/** The headings, each with the classes of its column's cells: a narrow table leaves some columns out. */
export const COLUMNS: readonly [string, string][] = [
  ['State', 'jp-mod-state'],
  ['Model', 'jp-mod-model'],
  ['Client', 'jp-mod-client'],
  ['Age', 'jp-mod-figure jp-mod-age'],
  ['Tokens', 'jp-mod-figure'],
  ['Rate', 'jp-mod-figure jp-mod-rate'],
  ['TTFT', 'jp-mod-figure jp-mod-ttft'],
  ['Time: queue, prefill, tokens', 'jp-mod-phases'],
  ['', 'jp-mod-actions']
];

const BAR = 7;
/** So long a stop is waited for. */
const ANSWER_MS = 5_000;

const STATES: Record<StreamStatus['state'], string> = {
  open: 'running',
  completed: 'completed',
  cancelled: 'stopped',
  failed: 'failed',
  incomplete: 'deadline'
};

/** One stream in the table. What has not changed is left alone, so that focus and selection stay where they are. */
export class StreamRow {
  constructor(id: string, cancel: ((stream: string) => void) | null) {
    this.node = element('tr', 'jp-Streaminfer-stream');
    this._cells = COLUMNS.map(([, className]) => element('td', className));
    this.node.append(...this._cells);
    this._bar = element('div', 'jp-Streaminfer-phases');
    this._bar.append(this._queue, this._prefill, this._decode);
    this._cells[BAR].append(this._bar);
    this._stop = button('Stop', 'jp-Streaminfer-button jp-mod-stop', () => {
      this._asked = performance.now();
      this._drawStop();
      cancel?.(id);
    });
    if (cancel) {
      this._cells[BAR + 1].append(this._stop);
    }
  }

  /** `longest`: the age in milliseconds that the bar's full width stands for. */
  show(status: StreamStatus, longest: number): void {
    const { model, version, arm, client, state, odd, age_ms: age, duration_ms: duration } = status;
    this.node.dataset.state = state;
    this.node.title = [...(odd ?? []), status.error?.message ?? ''].filter(Boolean).join('; ');
    this._write(0, stateOf(status));
    this._write(1, [`${model} ${version}`, arm ?? ''].filter(Boolean).join(' · '));
    this._write(2, client ?? '');
    this._write(3, say(duration ?? age, 'ms'));
    this._write(4, say(status.tokens ?? 0, 'count'));
    this._write(5, say(status.tokens_per_s, 'per_s'));
    this._write(6, say(status.ttft_ms, 'ms'));
    this._drawBar(status, longest);
    this._stop.hidden = state !== 'open';
    this._drawStop();
    this._stop.setAttribute('aria-label', `Stop the stream ${status.stream} of ${model}`);
  }

  /** What was asked for may be lost with a connection: after a while it can be asked for again. */
  private _drawStop(): void {
    const asked = performance.now() - this._asked < ANSWER_MS;
    this._stop.disabled = asked;
    this._stop.textContent = asked ? 'Stopping…' : 'Stop';
  }

  private _write(column: number, text: string): void {
    const cell = this._cells[column];
    if (cell.textContent !== text) {
      cell.textContent = text;
    }
  }

  private _drawBar(status: StreamStatus, longest: number): void {
    const end = status.duration_ms ?? status.age_ms;
    const queue = Math.min(status.queue_ms ?? end, end);
    const first = Math.min(status.ttft_ms ?? end, end);
    const [prefill, decode] = [Math.max(0, first - queue), Math.max(0, end - first)];
    this._widen(this._queue, queue / longest);
    this._widen(this._prefill, prefill / longest);
    this._widen(this._decode, decode / longest);
    this._bar.title = `queue ${say(queue, 'ms')}, prefill ${say(prefill, 'ms')}, tokens ${say(decode, 'ms')}`;
  }

  private _widen(node: HTMLElement, share: number): void {
    const width = `${(100 * share).toFixed(1)}%`;
    if (node.style.width !== width) {
      node.style.width = width;
    }
  }

  readonly node: HTMLElement;
  private readonly _cells: HTMLElement[];
  private readonly _bar: HTMLElement;
  private readonly _queue = element('i', 'jp-Streaminfer-phase-queue');
  private readonly _prefill = element('i', 'jp-Streaminfer-phase-prefill');
  private readonly _decode = element('i', 'jp-Streaminfer-phase-decode');
  private readonly _stop: HTMLButtonElement;
  private _asked = -ANSWER_MS;
}

function stateOf({ state, paused, ttft_ms: ttft, queue_ms: queue, odd, tokens }: StreamStatus): string {
  if (state !== 'open') {
    return STATES[state];
  }
  if (paused) {
    return 'paused';
  }
  if (odd?.length) {
    return odd.join(', ');
  }
  if (tokens) {
    return 'running';
  }
  return (queue ?? null) === null ? 'queued' : (ttft ?? null) === null ? 'prefill' : 'running';
}
