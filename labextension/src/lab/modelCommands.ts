import type { JupyterFrontEnd } from '@jupyterlab/application';

import { CommandIds } from './commandIds';
import type { IContext } from './context';
import { MODEL_CLASS } from './modelItem';
import { STREAM_CLASS } from './streamItem';

type Args = Partial<Record<string, unknown>>;

/** Commands about models and streams, told by `name`, `version` and `stream` or by what their menu was opened on. */
export function addModelCommands(app: JupyterFrontEnd, { actions, trans }: IContext): void {
  const { commands } = app;
  const hit = (name: string) => app.contextMenuHitTest(each => each.classList.contains(name))?.dataset ?? {};
  const of = (args: Args, name: string): string => {
    const told = args.name !== undefined || args.stream !== undefined;
    const value = told ? args[name] : (hit(MODEL_CLASS)[name] ?? hit(STREAM_CLASS)[name]);
    return typeof value === 'string' ? value : '';
  };
  commands.addCommand(CommandIds.load, {
    label: trans.__('Load a Model…'),
    caption: trans.__('Load a model into the inference engine of this server'),
    execute: () => actions.load()
  });
  const offered: [string, string, string, (name: string, args: Args) => Promise<unknown>][] = [
    [CommandIds.swap, 'swap', trans.__('Swap…'), name => actions.swap(name)],
    [CommandIds.rollBack, 'rollBack', trans.__('Roll Back'), name => actions.rollBack(name)],
    [
      CommandIds.activate,
      'activate',
      trans.__('Activate'),
      (name, args) => actions.activate(name, of(args, 'version'))
    ],
    [
      CommandIds.unload,
      'unload',
      trans.__('Unload…'),
      (name, args) => actions.unload(name, of(args, 'alone') ? null : of(args, 'version'), Number(of(args, 'active')))
    ]
  ];
  for (const [rank, [id, action, label, execute]] of offered.entries()) {
    commands.addCommand(id, {
      label,
      isEnabled: args =>
        of(args, 'name') !== '' && (of(args, 'offers') === '' || of(args, 'offers').split(' ').includes(action)),
      execute: args => execute(of(args, 'name'), args)
    });
    app.contextMenu.addItem({ command: id, selector: `.${MODEL_CLASS}`, rank });
  }
  commands.addCommand(CommandIds.stop, {
    label: trans.__('Stop'),
    isEnabled: args => of(args, 'stream') !== '',
    execute: args => actions.stop(of(args, 'stream'))
  });
  app.contextMenu.addItem({ command: CommandIds.stop, selector: `.${STREAM_CLASS}`, rank: 0 });
}
