import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import { context } from './contextPlugin';
import { dashboard } from './dashboardPlugin';
import { notifications, sidebar, statusBar } from './framePlugins';
import { playground } from './playgroundPlugin';

/** JupyterLab's plugins of this package; what shows a saved stream is `mime.ts`. */
const plugins: JupyterFrontEndPlugin<unknown>[] = [context, sidebar, dashboard, playground, statusBar, notifications];

export default plugins;
