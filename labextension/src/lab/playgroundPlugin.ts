import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';

import { CommandIds } from './commandIds';
import { IContext } from './context';
import { streaminferIcon } from './icon';
import { areaOf, MainArea } from './mainArea';
import { insertCell } from './notebookCell';
import type { Playground } from './playground';

/** The playground, and the command that opens it: with the model `name`, or `name@version`, chosen if it is told one. */
export const playground: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-streaminfer:playground',
  description: 'Ask models something, side by side.',
  autoStart: true,
  requires: [IContext],
  optional: [ICommandPalette, ILauncher, ILayoutRestorer, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    context: IContext,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    restorer: ILayoutRestorer | null,
    shell: ILabShell | null
  ) => {
    const { trans } = context;
    const category = trans.__('Streaming Inference');
    const area = new MainArea<Playground>(
      app,
      {
        id: 'jp-streaminfer-playground',
        label: trans.__('Inference Playground'),
        icon: streaminferIcon,
        command: CommandIds.playground,
        create: async () => {
          const { Playground } = await import('./playground');
          return new Playground(context, code => insertCell(app, code));
        }
      },
      areaOf(shell),
      restorer
    );
    app.commands.addCommand(CommandIds.playground, {
      label: trans.__('Inference Playground'),
      caption: trans.__('Try prompts and parameters on one or several models'),
      icon: streaminferIcon,
      execute: async args => {
        const content = await area.open({});
        if (typeof args.name === 'string') {
          content.choose(args.name);
        }
      }
    });
    palette?.addItem({ command: CommandIds.playground, category });
    launcher?.add({ command: CommandIds.playground, category, rank: 2 });
  }
};
