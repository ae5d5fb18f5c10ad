import type { JupyterFrontEnd } from '@jupyterlab/application';

const NOTEBOOK_CLASS = 'jp-NotebookPanel';
const INSERT_BELOW = 'notebook:insert-cell-below';
const REPLACE = 'notebook:replace-selection';

/** What is needed of a notebook's panel to see that a cell has what was put there. */
interface INotebookPanel {
  content?: { activeCell?: { model: { sharedModel: { source: string } } } | null };
}

/** Put code into a new cell of the notebook that was used last; whether there is one, and it took it. */
export async function insertCell(app: JupyterFrontEnd, code: string): Promise<boolean> {
  const open = [...app.shell.widgets('main')].some(({ node }) => node.classList.contains(NOTEBOOK_CLASS));
  if (!open) {
    return false;
  }
  await app.commands.execute(INSERT_BELOW);
  await app.commands.execute(REPLACE, { text: code });
  // Both do nothing, without a word, in a notebook that is still being opened.
  const panel = app.shell.currentWidget as INotebookPanel | null;
  return panel?.content?.activeCell?.model.sharedModel.source === code;
}
