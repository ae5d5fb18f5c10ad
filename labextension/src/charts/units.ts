/** How a figure is said: short, with its unit, and the same wherever it is shown. */
export type Unit = 'ms' | 'count' | 'per_s' | 'share' | 'bytes';

/** The words for a figure; a dash where there is none. */
export function say(value: number | null | undefined, unit: Unit): string {
  if (value === null || value === undefined || !Number.isFinite(value)) {
    return '–';
  }
  switch (unit) {
    case 'ms':
      return sayMs(value);
    case 'bytes':
      return sayBytes(value);
    case 'share':
      return `${figure(value * 100)} %`;
    case 'per_s':
      return `${figure(value)}/s`;
    case 'count':
      return figure(value);
  }
}

function sayMs(ms: number): string {
  if (ms < 1000) {
    return `${figure(ms)} ms`;
  }
  return ms < 60_000 ? `${figure(ms / 1000)} s` : `${figure(ms / 60_000)} min`;
}

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

function sayBytes(bytes: number): string {
  let size = 0;
  while (bytes >= 1024 && size < SIZES.length - 1) {
    bytes /= 1024;
    size += 1;
  }
  return `${figure(bytes)} ${SIZES[size] ?? ''}`;
}

/** Three digits, or a whole number. */
function figure(value: number): string {
  const size = Math.abs(value);
  const digits = Number.isInteger(value) || size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return value.toLocaleString('en', { minimumFractionDigits: 0, maximumFractionDigits: digits });
}
