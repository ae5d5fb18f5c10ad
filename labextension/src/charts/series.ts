import type { Metrics } from '../protocol';
import type { ILine } from './chart';

/** Samples further apart than this were not all received: what lies between is not known, and no line is drawn. */
const GAP_S = 3;

/** How a chart's figures are read from a sample. */
export interface IFigure {
  label: string;
  of(sample: Metrics, before: Metrics | null): number | null | undefined;
}

/** The figures of some samples as lines over time, with a gap where samples are missing. */
export function linesOf(samples: readonly Metrics[], figures: readonly IFigure[]): { times: number[]; lines: ILine[] } {
  const times: number[] = [];
  const columns: (number | null)[][] = figures.map(() => []);
  let before: Metrics | null = null;
  for (const sample of samples) {
    if (before !== null && sample.at - before.at > GAP_S) {
      times.push(before.at + GAP_S / 2);
      columns.forEach(column => column.push(null));
      before = null;
    }
    times.push(sample.at);
    figures.forEach((figure, index) => columns[index]?.push(figure.of(sample, before) ?? null));
    before = sample;
  }
  return { times, lines: figures.map(({ label }, index) => ({ label, values: columns[index] ?? [] })) };
}
