import { ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { IStatusBar } from '@jupyterlab/statusbar';

import { CommandIds } from './commandIds';
import { IContext } from './context';
import { streaminferIcon } from './icon';
import { Notifier } from './notifier';
import { Sidebar } from './sidebar';
import { StatusItem } from './statusItem';

const RANK = 550;

/** The sidebar, and the command that shows it. */
export const sidebar: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-streaminfer:sidebar',
  description: 'Models, active streams and alerts in the left sidebar.',
  autoStart: true,
  requires: [IContext],
  optional: [ICommandPalette, ILayoutRestorer],
  activate: (
    app: JupyterFrontEnd,
    context: IContext,
    palette: ICommandPalette | null,
    restorer: ILayoutRestorer | null
  ) => {
    const { trans } = context;
    const widget = new Sidebar(context);
    app.shell.add(widget, 'left', { rank: RANK, type: 'Streaming Inference' });
    restorer?.add(widget, widget.id);
    app.commands.addCommand(CommandIds.sidebar, {
      label: trans.__('Show Models and Streams'),
      caption: trans.__('Show the models and streams of the inference engine in the sidebar'),
      icon: streaminferIcon,
      execute: () => {
        app.shell.activateById(widget.id);
      }
    });
    palette?.addItem({ command: CommandIds.sidebar, category: trans.__('Streaming Inference') });
  }
};

/** The item in the status bar, where the page has one. */
export const statusBar: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-streaminfer:status-bar',
  description: 'Open streams, tokens per second and time to the first token in the status bar.',
  autoStart: true,
  requires: [IContext],
  optional: [IStatusBar],
  activate: (_app: JupyterFrontEnd, context: IContext, bar: IStatusBar | null) => {
    if (!bar) {
      return;
    }
    const item = new StatusItem(context);
    bar.registerStatusItem('jupyter-streaminfer:status', {
      item,
      align: 'left',
      rank: 20,
      isActive: () => item.wanted,
      activeStateChanged: item.wantedChanged
    });
  }
};

/** Tells of what people should know wherever they look. */
export const notifications: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-streaminfer:notifications',
  description: 'Notifies of alerts, failed loads and a server that cannot be reached.',
  autoStart: true,
  requires: [IContext],
  activate: (_app: JupyterFrontEnd, context: IContext) => {
    new Notifier(context);
  }
};
