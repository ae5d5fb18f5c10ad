import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';

import { Actions } from './actions';
import { CommandIds } from './commandIds';
import { IContext } from './context';
import { LiveSource } from './live';
import { addModelCommands } from './modelCommands';
import { Choices } from './settings';
import './icon';

const ID = 'jupyter-streaminfer:plugin';

/** What all the others share, and the commands about models and streams. */
export const context: JupyterFrontEndPlugin<IContext> = {
  id: ID,
  description: 'The live source, the settings and the commands of jupyter_streaminfer.',
  autoStart: true,
  provides: IContext,
  optional: [ISettingRegistry, ITranslator, ICommandPalette],
  activate: async (
    app: JupyterFrontEnd,
    registry: ISettingRegistry | null,
    translator: ITranslator | null,
    palette: ICommandPalette | null
  ): Promise<IContext> => {
    const trans = (translator ?? nullTranslator).load('jupyter_streaminfer');
    const choices = new Choices();
    const made: IContext = {
      commands: app.commands,
      live: new LiveSource(
        trans.__('This Jupyter server has no inference engine: jupyter_streaminfer is not enabled in it.')
      ),
      actions: new Actions(trans),
      choices,
      trans
    };
    // Before anything begins to listen that is not wanted.
    await choices.follow(registry, ID).catch((reason: unknown) => {
      console.error('The settings of jupyter_streaminfer cannot be read: they are as in the beginning.', reason);
    });
    addModelCommands(app, made);
    palette?.addItem({ command: CommandIds.load, category: trans.__('Streaming Inference') });
    return made;
  }
};
