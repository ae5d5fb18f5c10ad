import { LineChart, brief } from './lineChart';
import { element, type IView } from '../view';

/** One figure: `Series` of jupyter_streaminfer/widgets/training_log.py. */
export interface ISeries {
  name: string;
  latest: number | null;
  least: number | null;
  greatest: number | null;
  /** Epochs gone by, and the value. */
  points: [number, number][];
}

/** What the model said in an epoch: `Sample` of jupyter_streaminfer/widgets/training_samples.py. */
export interface ISample {
  epoch: number;
  label: string;
  text: string;
  state: string;
}

/** The traits of `Progress` in jupyter_streaminfer/widgets/progress.py. */
export interface ITraining {
  title: string;
  epochs: number;
  epoch: number;
  step: number;
  steps: number;
  state: 'waiting' | 'running' | 'completed' | 'stopped' | 'failed' | 'interrupted';
  share: number;
  elapsed_s: number;
  left_s: number | null;
  series: ISeries[];
  samples: ISample[];
  error: string;
}

const STATES: Record<ITraining['state'], string> = {
  waiting: 'Not begun',
  running: 'Running',
  completed: 'Completed',
  stopped: 'Ended early',
  failed: 'Failed',
  interrupted: 'Interrupted'
};
const TICK_MS = 1000;

/** A training on the page. Texts reach it as text nodes only. */
export class ProgressView implements IView {
  constructor(parent: HTMLElement) {
    this._root.setAttribute('role', 'group');
    this._bar.setAttribute('role', 'progressbar');
    this._bar.setAttribute('aria-label', 'Progress');
    this._bar.setAttribute('aria-valuemin', '0');
    this._bar.setAttribute('aria-valuemax', '100');
    this._bar.append(this._filled);
    this._state.setAttribute('role', 'status');
    this._error.setAttribute('role', 'alert');
    this._samples.setAttribute('role', 'log');
    this._samples.setAttribute('aria-label', 'Samples from the model');
    this._samples.tabIndex = 0;
    const head = element('div', 'jp-Streaminfer-bar jp-mod-head jp-StreaminferProgress-head');
    head.append(this._title, this._state, this._where, this._times);
    const body = element('div', 'jp-StreaminferProgress-body');
    body.append(this._chart.node, this._figures);
    this._root.append(this._bar, head, body, this._samples, this._error);
    parent.append(this._root);
    this._clock = window.setInterval(() => {
      this._drawTimes();
    }, TICK_MS);
  }

  /** Show what the kernel knows now. */
  update(training: ITraining): void {
    this._training = training;
    this._received = performance.now();
    this._frame ||= requestAnimationFrame(() => {
      this._draw(training);
    });
  }

  dispose(): void {
    cancelAnimationFrame(this._frame);
    window.clearInterval(this._clock);
    this._chart.dispose();
    this._root.remove();
  }

  private _draw(first: ITraining): void {
    this._frame = 0;
    const training = this._training ?? first;
    const { title, epoch, epochs, step, steps, state, share, series, error } = training;
    const percent = Math.round(share * 100);
    this._root.dataset.state = state;
    this._root.setAttribute('aria-label', title);
    this._title.textContent = title;
    if (this._state.textContent !== STATES[state]) {
      this._state.textContent = STATES[state];
    }
    const within = step ? ` · step ${step}${steps ? ` of ${steps}` : ''}` : '';
    const where = epoch ? `epoch ${epoch} of ${epochs}${within}` : `${epochs} epochs`;
    this._where.textContent = where;
    this._filled.style.width = `${share * 100}%`;
    this._bar.setAttribute('aria-valuenow', `${percent}`);
    this._bar.setAttribute('aria-valuetext', `${percent} %: ${where}`);
    this._drawTimes();
    this._chart.show(
      series.filter(each => each.name.toLowerCase().includes('loss')),
      epochs
    );
    this._drawFigures(series);
    this._drawSamples(training.samples);
    this._error.textContent = error;
    this._error.hidden = !error;
  }

  /** Between two messages the clock goes on by itself: an epoch may take long. */
  private _drawTimes(): void {
    const training = this._training;
    if (!training) {
      return;
    }
    const since = training.state === 'running' ? (performance.now() - this._received) / 1000 : 0;
    const parts = training.state === 'waiting' ? [] : [duration(training.elapsed_s + since)];
    if (training.left_s !== null) {
      parts.push(`about ${duration(Math.max(0, training.left_s - since))} left`);
    }
    this._times.textContent = parts.join(' · ');
  }

  private _drawFigures(series: readonly ISeries[]): void {
    this._figures.hidden = !series.length;
    this._figures.textContent = '';
    const head = this._figures.createTHead().insertRow();
    for (const name of ['', 'latest', 'least', 'greatest']) {
      const cell = element(name ? 'th' : 'td', '', name);
      if (cell instanceof HTMLTableCellElement && name) {
        cell.scope = 'col';
      }
      head.append(cell);
    }
    const body = this._figures.createTBody();
    for (const each of series) {
      const row = body.insertRow();
      const name = element('th', '', each.name);
      name.scope = 'row';
      row.append(name);
      for (const value of [each.latest, each.least, each.greatest]) {
        row.append(element('td', '', brief(value)));
      }
    }
  }

  private _drawSamples(samples: readonly ISample[]): void {
    this._samples.hidden = !samples.length;
    while (this._shown.length > samples.length) {
      this._shown.pop()?.node.remove();
    }
    samples.forEach((sample, place) => {
      if (place === this._shown.length) {
        const node = element('div', 'jp-StreaminferProgress-sample');
        const about = element('div', 'jp-StreaminferProgress-about');
        const text = element('div', 'jp-StreaminferProgress-text');
        node.append(about, text);
        this._samples.append(node);
        this._shown.push({ node, about, text });
      }
      const { about, text } = this._shown[place];
      const ended = sample.state === 'completed' ? '' : sample.state === 'streaming' ? ' …' : ` (${sample.state})`;
      put(about, `Epoch ${sample.epoch}${sample.label ? ` · ${sample.label}` : ''}${ended}`);
      put(text, sample.text);
    });
  }

  private readonly _root = element('div', 'jp-Streaminfer jp-Streaminfer-frame jp-StreaminferProgress');
  private readonly _bar = element('div', 'jp-StreaminferProgress-bar');
  private readonly _filled = element('div', 'jp-StreaminferProgress-filled');
  private readonly _title = element('span', 'jp-StreaminferProgress-title');
  private readonly _state = element('span', 'jp-Streaminfer-state');
  private readonly _where = element('span', 'jp-StreaminferProgress-where');
  private readonly _times = element('span', 'jp-StreaminferProgress-times');
  private readonly _chart = new LineChart('Loss');
  private readonly _figures = element('table', 'jp-StreaminferProgress-figures');
  private readonly _samples = element('div', 'jp-StreaminferProgress-samples');
  private readonly _error = element('div', 'jp-Streaminfer-error jp-StreaminferProgress-error');
  private readonly _shown: { node: HTMLElement; about: HTMLElement; text: HTMLElement }[] = [];
  private readonly _clock: number;
  private _training: ITraining | null = null;
  private _received = 0;
  private _frame = 0;
}

/** Change a text only where it is another one: what is selected stays so, and nothing is read out twice. */
function put(node: HTMLElement, text: string): void {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const two = (value: number) => `${value}`.padStart(2, '0');
  if (whole < 60) {
    return `${whole} s`;
  }
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${two(whole % 60)} s`
    : `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
}
