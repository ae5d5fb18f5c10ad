/** The colours that a chart draws with, as its node has them now. */
export interface IColours {
  ink: string;
  muted: string;
  grid: string;
  series: readonly string[];
}

/** Colours of Okabe and Ito, which everybody can tell apart; dashes tell the same. */
export const SERIES_COLOURS = 6;
export const DASHES: readonly (readonly number[])[] = [[], [6, 3], [2, 2], [9, 3, 2, 3], [12, 4], [4, 2, 1, 2]];

export function coloursOf(node: Element): IColours {
  const style = getComputedStyle(node);
  const of = (name: string): string => style.getPropertyValue(name).trim() || '#808080';
  return {
    ink: of('--si-ink'),
    muted: of('--si-muted'),
    grid: of('--si-grid'),
    series: Array.from({ length: SERIES_COLOURS }, (_, index) => of(`--si-series-${index + 1}`))
  };
}

const followers = new Set<() => void>();
let stop: (() => void) | null = null;

/** Call `changed` whenever the page changes its theme; returns what ends that. */
export function followTheme(changed: () => void): () => void {
  followers.add(changed);
  stop ??= watch();
  return () => {
    followers.delete(changed);
    if (followers.size === 0) {
      stop?.();
      stop = null;
    }
  };
}

/** JupyterLab and VS Code say their theme on the body; else the system decides. */
function watch(): () => void {
  const tell = () => {
    followers.forEach(changed => {
      changed();
    });
  };
  const observer = new MutationObserver(() => {
    // JupyterLab hides everything until the next frame, and what is hidden is not drawn.
    requestAnimationFrame(tell);
  });
  const attributeFilter = ['class', 'data-jp-theme-name', 'data-jp-theme-light', 'data-vscode-theme-kind'];
  observer.observe(document.body, { attributes: true, attributeFilter });
  const dark = matchMedia('(prefers-color-scheme: dark)');
  dark.addEventListener('change', tell);
  return () => {
    observer.disconnect();
    dark.removeEventListener('change', tell);
  };
}
