import { say } from '../charts/units';
import type { Metrics } from '../protocol';
import { element } from '../view';
import { chartPanel, type INewestView } from './chartPanel';
import { highest, trafficOf } from './readings';

/** Alerts that fire, and what went wrong since the engine's start, by what it was. */
class Troubles implements INewestView {
  constructor(parent: HTMLElement) {
    this._alerts = element('ul', 'jp-Streaminfer-alerts');
    const status = element('div');
    status.setAttribute('role', 'status');
    status.append(this._alerts);
    this._counts = element('dl', 'jp-Streaminfer-counts');
    parent.append(status, this._counts);
  }

  show(newest: Metrics, model: string | null): void {
    const firing = newest.alerts.map(({ message }) => message);
    this._put(this._alerts, firing, () =>
      firing.length > 0
        ? firing.map(message => element('li', 'jp-Streaminfer-alert', message))
        : [element('li', 'jp-Streaminfer-calm', 'No alert fires.')]
    );
    const counts = countsOf(newest, model);
    this._put(this._counts, counts, () =>
      counts.map(([name, count]) => {
        const row = element('div', 'jp-Streaminfer-count');
        row.append(element('dt', '', name), element('dd', '', say(count, 'count')));
        return row;
      })
    );
    this._counts.hidden = counts.length === 0;
  }

  /** Rewrite a list where it says something else by now; what is read aloud is not said twice. */
  private _put(list: HTMLElement, content: unknown, nodes: () => HTMLElement[]): void {
    const text = JSON.stringify(content);
    if (list.dataset.content !== text) {
      list.dataset.content = text;
      list.replaceChildren(...nodes());
    }
  }

  private readonly _alerts: HTMLElement;
  private readonly _counts: HTMLElement;
}

const ODD: Record<string, string> = {
  repeating: 'streams that repeated themselves',
  stalled: 'streams that stalled',
  long: 'unusually long streams',
  short: 'unusually short streams'
};

/** What there is any of: errors by code, streams that ended in another way than in order, and, of all, odd ones. */
function countsOf(newest: Metrics, model: string | null): [string, number][] {
  const counts = new Map<string, number>();
  const add = (name: string, count: number | undefined): void => {
    if (count) {
      counts.set(name, (counts.get(name) ?? 0) + count);
    }
  };
  for (const { errors, outcomes } of trafficOf(newest, model)) {
    Object.entries(errors ?? {}).forEach(([code, count]) => {
      add(code, count);
    });
    add('ended at a deadline', outcomes?.incomplete);
    add('stopped', outcomes?.cancelled);
    add('nobody read them', outcomes?.disconnected);
  }
  if (model === null) {
    Object.entries(newest.odd).forEach(([what, count]) => {
      add(ODD[what] ?? what, count);
    });
    add('workers started again', newest.restarts);
  }
  return [...counts].sort(([, one], [, other]) => other - one);
}

/** The part of requests that failed, how many a second, and what with. */
export const ERRORS = chartPanel({
  id: 'errors',
  title: 'Errors',
  above: parent => new Troubles(parent),
  charts: [
    {
      title: 'Failed requests, last minute',
      unit: 'share',
      most: 0.02,
      always: true,
      figures: (_, model) => [{ label: 'failed', of: sample => failed(sample, model) }]
    }
  ],
  nothing: () => ''
});

/** The error rate of all or of one entry; of several entries the highest, as their windows' counts are not known. */
function failed(sample: Metrics, model: string | null): number | null {
  return highest(trafficOf(sample, model).map(({ error_rate: rate }) => rate));
}
