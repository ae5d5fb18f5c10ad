import { CHARTS } from './chartPanels';
import { ERRORS } from './errorsPanel';
import type { IPanel } from './panel';
import { STREAMS } from './streamsPanel';

export type { IPanel } from './panel';

/** Everything that a dashboard has, in the order in which it is laid out. */
export const PANELS: readonly IPanel[] = [...CHARTS.slice(0, 5), ERRORS, ...CHARTS.slice(5), STREAMS];
