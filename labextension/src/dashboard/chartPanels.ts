import type { IFigure } from '../charts/series';
import { say } from '../charts/units';
import { newestOf } from '../metrics/sampleLog';
import type { Distribution, LatencyMetrics, Metrics } from '../protocol';
import { chartPanel, type IPanelSpec } from './chartPanel';
import { entriesOf, highest, latency, total, versionsOf } from './readings';

const MOST_LINES = 6;

/** Quantiles of one latency. */
function quantiles(name: keyof LatencyMetrics) {
  return (newest: Metrics, model: string | null): IFigure[] => {
    const several = model !== null && entriesOf(newest, model).length > 1;
    return (['p50', 'p95', 'p99'] as const).map(quantile => ({
      label: several ? `${quantile}, slowest version` : quantile,
      of: sample => latency(sample, model, name, quantile)
    }));
  };
}

/** One line for each version, the busiest first. */
function perVersion(of: (entry: Metrics['models'][number]) => number | null | undefined) {
  return (newest: Metrics, model: string | null): IFigure[] => {
    const versions = versionsOf(newest, model).filter(entry => (of(entry) ?? null) !== null);
    versions.sort((one, other) => (other.traffic.requests ?? 0) - (one.traffic.requests ?? 0));
    return versions
      .slice(0, MOST_LINES)
      .sort((one, other) => (`${one.model} ${one.version}` < `${other.model} ${other.version}` ? -1 : 1))
      .map(({ model: name, version }) => ({
        label: versions.length > 1 ? `${name} ${version}` : name,
        of: sample => {
          const entry = versionsOf(sample, null).find(each => each.model === name && each.version === version);
          return entry && of(entry);
        }
      }));
  };
}

/** Rows that were computed together, of all versions: a mean over all batches, and the largest batch. */
function batch(sample: Metrics, model: string | null): Distribution[] {
  return versionsOf(sample, model).flatMap(({ batch_size }) => (batch_size ? [batch_size] : []));
}

function meanBatch(sample: Metrics, model: string | null): number | null {
  const parts = batch(sample, model);
  const count = parts.reduce((sum, part) => sum + part.count, 0);
  return count > 0 ? parts.reduce((sum, part) => sum + part.mean * part.count, 0) / count : null;
}

function flushes(newest: Metrics, model: string | null): string {
  const counts = new Map<string, number>();
  for (const { flushes } of versionsOf(newest, model)) {
    for (const [reason, count] of Object.entries(flushes ?? {})) {
      counts.set(reason, (counts.get(reason) ?? 0) + count);
    }
  }
  const parts = [...counts].map(([reason, count]) => `${reason} ${say(count, 'count')}`);
  return parts.length > 0 ? `Batches of predictions since the start: ${parts.join(', ')}` : '';
}

function noRequests(samples: readonly Metrics[], model: string | null): string {
  const newest = newestOf(samples);
  if (newest === null || (total(newest, model, traffic => traffic.requests) ?? 0) > 0) {
    return '';
  }
  return model === null && newest.models.length === 0
    ? 'No model is loaded yet: client.load("demo") loads one.'
    : 'No requests yet: client.generate(…) or client.predict(…) makes one.';
}

export const LATENCY: IPanelSpec = {
  id: 'latency',
  title: 'Latency',
  charts: [
    { title: 'Time to first token', unit: 'ms', always: true, figures: quantiles('ttft_ms') },
    { title: 'Time between tokens', unit: 'ms', always: true, figures: quantiles('itl_ms') },
    { title: 'Predictions', unit: 'ms', always: false, figures: quantiles('predict_ms') }
  ],
  nothing: noRequests
};

export const THROUGHPUT: IPanelSpec = {
  id: 'throughput',
  title: 'Throughput',
  charts: [
    {
      title: 'Tokens',
      unit: 'per_s',
      always: true,
      figures: (_, model) => [
        { label: 'out', of: sample => total(sample, model, traffic => traffic.tokens_out_per_s) },
        { label: 'in', of: sample => total(sample, model, traffic => traffic.tokens_in_per_s) }
      ]
    },
    {
      title: 'Requests',
      unit: 'per_s',
      always: true,
      figures: (_, model) => [
        { label: 'admitted', of: sample => total(sample, model, traffic => traffic.requests_per_s) }
      ]
    }
  ],
  nothing: noRequests
};

export const BATCHES: IPanelSpec = {
  id: 'batches',
  title: 'Batches',
  charts: [
    {
      title: 'Computed together',
      unit: 'count',
      always: true,
      figures: (_, model) => [
        { label: 'mean', of: sample => meanBatch(sample, model) },
        { label: 'largest', of: sample => highest(batch(sample, model).map(({ max }) => max)) }
      ]
    }
  ],
  note: flushes,
  nothing: noRequests
};

export const QUEUE: IPanelSpec = {
  id: 'queue',
  title: 'Queue',
  charts: [
    {
      title: 'Requests under way',
      unit: 'count',
      always: true,
      figures: (_, model) => [
        { label: 'running', of: sample => sum(sample, model, ({ running }) => running) },
        { label: 'waiting', of: sample => sum(sample, model, ({ waiting }) => waiting) },
        ...(model === null ? [{ label: 'admitted, not ended', of: ({ pending }: Metrics) => pending }] : [])
      ]
    },
    { title: 'Time in the queue', unit: 'ms', always: false, figures: quantiles('queue_ms') }
  ],
  nothing: noRequests
};

export const CACHE: IPanelSpec = {
  id: 'cache',
  title: 'Cache',
  charts: [
    {
      title: 'KV cache in use',
      unit: 'share',
      most: 1,
      always: true,
      figures: perVersion(({ cache_used }) => cache_used)
    },
    {
      title: 'Prompt tokens from the prefix cache',
      unit: 'share',
      most: 1,
      always: true,
      figures: perVersion(({ prefix_hit_rate }) => prefix_hit_rate)
    }
  ],
  note: newest => {
    const { cache_hits: hits, cache_misses: misses, cache_bytes: bytes } = newest;
    return hits + misses > 0
      ? `Prediction cache: ${say(hits, 'count')} hits, ${say(misses, 'count')} misses, ${say(bytes, 'bytes')}`
      : '';
  },
  nothing: (samples, model) => {
    const newest = newestOf(samples);
    return newest && entriesOf(newest, model).every(({ cache_used }) => (cache_used ?? null) === null)
      ? 'No model with a KV cache is loaded: client.load("demo") loads one.'
      : '';
  }
};

export const MACHINE: IPanelSpec = {
  id: 'machine',
  title: 'Machine',
  charts: [
    {
      title: 'Memory of the server and its workers',
      unit: 'bytes',
      always: true,
      figures: () => [{ label: 'memory', of: sample => sample.memory_bytes }]
    },
    {
      title: 'Event loop lag',
      unit: 'ms',
      always: true,
      figures: () => [{ label: 'worst', of: sample => sample.loop_lag_ms }]
    },
    {
      title: 'GPU',
      unit: 'share',
      most: 1,
      always: false,
      figures: () => [
        { label: 'busy', of: sample => sample.gpu_utilisation },
        { label: 'memory', of: sample => sample.gpu_memory_used }
      ]
    }
  ],
  nothing: () => ''
};

function sum(
  sample: Metrics,
  model: string | null,
  of: (entry: Metrics['models'][number]) => number | undefined
): number | null {
  const parts = versionsOf(sample, model);
  return parts.length > 0 || model === null ? parts.reduce((all, part) => all + (of(part) ?? 0), 0) : null;
}

/** The panels that are charts and nothing else. */
export const CHARTS = [LATENCY, THROUGHPUT, BATCHES, QUEUE, CACHE, MACHINE].map(chartPanel);
