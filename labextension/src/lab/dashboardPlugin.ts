import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ILauncher } from '@jupyterlab/launcher';
import type { PartialJSONValue } from '@lumino/coreutils';

import { CommandIds } from './commandIds';
import { IContext } from './context';
import type { Dashboard } from './dashboard';
import { dashboardIcon } from './icon';
import { areaOf, MainArea } from './mainArea';

/** The dashboard, and the commands that open it and lay it out as in the beginning. */
export const dashboard: JupyterFrontEndPlugin<void> = {
  id: 'jupyter-streaminfer:dashboard',
  description: 'The dashboard of the inference engine.',
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
    /** As it was laid out when it was last open on this page. */
    let layout: PartialJSONValue = null;
    const area = new MainArea<Dashboard>(
      app,
      {
        id: 'jp-streaminfer-dashboard',
        label: trans.__('Inference Dashboard'),
        icon: dashboardIcon,
        command: CommandIds.dashboard,
        args: content => ({ layout: content.arrangement }),
        create: async args => {
          // Charts are loaded once somebody wants to see them.
          const { Dashboard } = await import('./dashboard');
          const made = new Dashboard(context, args.layout ?? layout, !shell);
          made.rearranged.connect(() => {
            layout = made.arrangement;
            area.save();
          });
          return made;
        }
      },
      areaOf(shell),
      restorer
    );
    app.commands.addCommand(CommandIds.dashboard, {
      label: trans.__('Inference Dashboard'),
      caption: trans.__('Watch latency, throughput, memory and errors of the inference engine'),
      icon: dashboardIcon,
      execute: async args => {
        await area.open(args);
      }
    });
    app.commands.addCommand(CommandIds.resetDashboard, {
      label: trans.__('Reset the Layout of the Inference Dashboard'),
      isEnabled: () => area.content !== null,
      execute: () => {
        area.content?.arrange(null);
      }
    });
    palette?.addItem({ command: CommandIds.dashboard, category });
    palette?.addItem({ command: CommandIds.resetDashboard, category });
    launcher?.add({ command: CommandIds.dashboard, category, rank: 1 });
  }
};
