/** `512 B`, `4.2 MB`: bytes as people say them. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${units[unit] ?? ''}`;
}

/** `950 ms`, `12 s`, `3 min`, `2 h`: how long. */
export function time(ms: number): string {
  if (ms < 1000) {
    return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
  }
  const seconds = ms / 1000;
  if (seconds < 100) {
    return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  }
  return seconds < 6000 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(0)} h`;
}

/** `8,512`, `1.2 M`: a count that fits a narrow place. */
export function count(value: number): string {
  return value < 1_000_000 ? Math.round(value).toLocaleString('en') : large(value);
}

/** `0`, `42.1`, `1,240`: a rate. */
export function rate(value: number): string {
  return value > 0 && value < 100 ? value.toFixed(1) : count(value);
}

function large(value: number): string {
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} M` : `${(value / 1e9).toFixed(1)} G`;
}

/** What is shown of a name that anybody may have chosen: short, on one line. */
export function label(name: string): string {
  const line = name.replace(/\s+/g, ' ');
  return line.length > 80 ? `${line.slice(0, 79)}…` : line;
}
