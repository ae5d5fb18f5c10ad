import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Token } from '@lumino/coreutils';

import type { Actions } from './actions';
import type { LiveSource } from './live';
import type { Choices } from './settings';

/** What all our plugins share. */
export interface IContext {
  commands: JupyterFrontEnd['commands'];
  live: LiveSource;
  actions: Actions;
  choices: Choices;
  trans: TranslationBundle;
}

export const IContext = new Token<IContext>(
  'jupyter-streaminfer:IContext',
  'The live source, the settings and the actions that the parts of jupyter_streaminfer share.'
);
