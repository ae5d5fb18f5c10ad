import type { Distribution, LatencyMetrics, Metrics, ModelMetrics, TrafficMetrics } from '../protocol';

/** How a version, by how requests came to it, is named in a `Scope`. */
export function entryKey({ model, version, arm }: ModelMetrics): string {
  return `${model}\n${version}\n${arm}`;
}

/** The entries of a model (or one of them), or of all models: one for each version and way in which requests came to it. */
export function entriesOf(sample: Metrics, model: string | null): ModelMetrics[] {
  if (model === null) {
    return sample.models;
  }
  return sample.models.filter(entry => (model.includes('\n') ? entryKey(entry) : entry.model) === model);
}

/** What requests took and brought: of all of them, or of each entry of a model. */
export function trafficOf(sample: Metrics, model: string | null): TrafficMetrics[] {
  return model === null ? [sample.traffic] : entriesOf(sample, model).map(({ traffic }) => traffic);
}

/** A figure of all, or the sum of it over a model's entries; null where there are none. */
export function total(
  sample: Metrics,
  model: string | null,
  of: (traffic: TrafficMetrics) => number | undefined
): number | null {
  const parts = trafficOf(sample, model);
  return parts.length > 0 ? parts.reduce((sum, part) => sum + (of(part) ?? 0), 0) : null;
}

/**
 * A latency of all, or of a model.
 *
 * Quantiles of several entries cannot be had from theirs, so a model that has several shows its slowest: no request
 * in the window was served worse than the figure says.
 */
export function latency(
  sample: Metrics,
  model: string | null,
  name: keyof LatencyMetrics,
  quantile: keyof Distribution
): number | null {
  const parts = model === null ? [sample.latencies] : entriesOf(sample, model).map(({ latencies }) => latencies);
  return highest(parts.map(part => part[name]?.[quantile]));
}

/** The versions of a model, or of all: what is measured of a version is the same in each of its entries. */
export function versionsOf(sample: Metrics, model: string | null): ModelMetrics[] {
  const seen = new Map<string, ModelMetrics>();
  for (const entry of entriesOf(sample, model)) {
    const key = `${entry.model}\n${entry.version}`;
    const other = seen.get(key);
    if (other === undefined || entry.arm === '') {
      seen.set(key, entry);
    }
  }
  return [...seen.values()];
}

/** The highest of what there is. */
export function highest(values: readonly (number | null | undefined)[]): number | null {
  const known = values.filter(value => value !== null && value !== undefined);
  return known.length > 0 ? Math.max(...known) : null;
}
