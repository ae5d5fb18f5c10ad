import type { JSONObject, JSONValue } from '@lumino/coreutils';
import type { DockLayout, Widget } from '@lumino/widgets';

type Area = DockLayout.AreaConfig;

const DEEPEST = 16;

/** How the panels are laid out before anybody moves one: the ids of each tab area, by column and row. */
const DEFAULT: JSONObject = {
  type: 'split-area',
  orientation: 'vertical',
  sizes: [1, 1],
  children: [
    {
      type: 'split-area',
      orientation: 'horizontal',
      sizes: [1, 1],
      children: [tabs('latency'), tabs('throughput')]
    },
    {
      type: 'split-area',
      orientation: 'horizontal',
      sizes: [1, 1],
      children: [tabs('queue', 'batches', 'cache', 'machine'), tabs('streams', 'errors')]
    }
  ]
};

/** The same where there is little height: below a notebook. */
const LOW: JSONObject = {
  type: 'split-area',
  orientation: 'horizontal',
  sizes: [1, 1],
  children: [tabs('latency', 'throughput', 'queue', 'batches', 'cache', 'machine'), tabs('streams', 'errors')]
};

/** A layout as JSON, each panel by its id. */
export function writeLayout({ main }: DockLayout.ILayoutConfig): JSONObject {
  return main ? writeArea(main) : DEFAULT;
}

/** The layout that JSON describes: that of before anybody moved a panel, where it is none or lacks all panels. */
export function readLayout(value: unknown, panels: readonly Widget[], low: boolean): DockLayout.ILayoutConfig {
  const read = (each: unknown) => readArea(each, new Map(panels.map(panel => [panel.id, panel])), 0);
  return { main: read(value) ?? read(low ? LOW : DEFAULT) };
}

function tabs(...widgets: string[]): JSONObject {
  return { type: 'tab-area', widgets, currentIndex: 0 };
}

function writeArea(area: Area): JSONObject {
  return area.type === 'tab-area'
    ? { type: area.type, widgets: area.widgets.map(({ id }) => id), currentIndex: area.currentIndex }
    : {
        type: area.type,
        orientation: area.orientation,
        sizes: area.sizes,
        children: area.children.map(writeArea)
      };
}

/** It may be anything: a workspace is a file that people edit and share. Each panel is taken once. */
function readArea(value: unknown, left: Map<string, Widget>, depth: number): Area | null {
  if (typeof value !== 'object' || value === null || depth > DEEPEST) {
    return null;
  }
  const { type, widgets, currentIndex, orientation, children, sizes } = value as Record<string, JSONValue | undefined>;
  if (type === 'tab-area' && Array.isArray(widgets)) {
    const found = widgets.flatMap(id => {
      const panel = typeof id === 'string' ? left.get(id) : undefined;
      if (panel) {
        left.delete(panel.id);
      }
      return panel ? [panel] : [];
    });
    const index = typeof currentIndex === 'number' && currentIndex in found ? currentIndex : 0;
    return found.length ? { type, widgets: found, currentIndex: index } : null;
  }
  if (type === 'split-area' && Array.isArray(children)) {
    const parts = Array.isArray(sizes) ? sizes.map(Number) : [];
    const areas = children.flatMap((child, index) => {
      const area = readArea(child, left, depth + 1);
      return area ? [{ area, size: (parts[index] ?? 0) > 0 ? (parts[index] ?? 1) : 1 }] : [];
    });
    if (areas.length < 2) {
      return areas.pop()?.area ?? null;
    }
    return {
      type,
      orientation: orientation === 'vertical' ? orientation : 'horizontal',
      children: areas.map(({ area }) => area),
      sizes: areas.map(({ size }) => size)
    };
  }
  return null;
}
