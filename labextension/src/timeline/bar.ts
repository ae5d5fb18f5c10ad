import { button, element } from '../view';

/** What a timeline is asked for. */
export interface IZoom {
  closer(): void;
  farther(): void;
  all(): void;
}

/** Above a timeline: what its colours mean, and the buttons that zoom. */
export function timelineBar(zoom: IZoom): HTMLElement {
  const bar = element('div', 'jp-Streaminfer-toolbar');
  const keys = element('span', 'jp-StreaminferTimeline-keys');
  for (const phase of ['queue', 'prefill', 'token']) {
    const item = element('span', 'jp-Streaminfer-legendItem');
    item.append(element('i', `jp-StreaminferTimeline-key jp-StreaminferTimeline-key-${phase}`), phase);
    keys.append(item);
  }
  const act = (label: string, name: string, action: () => void): HTMLButtonElement => {
    const node = button(label, 'jp-Streaminfer-button', action);
    node.setAttribute('aria-label', name);
    node.title = name;
    return node;
  };
  bar.append(
    keys,
    act('−', 'Zoom out', () => {
      zoom.farther();
    }),
    act('+', 'Zoom in', () => {
      zoom.closer();
    }),
    act('All', 'Show all', () => {
      zoom.all();
    })
  );
  return bar;
}
