import '../../../style/theme.css';
import '../../../style/markdown.css';
import '../../../style/tokenStream.css';
import '../../../style/compare.css';

import { CompareView, type IColumn } from '../compare/compareView';
import type { IRenderProps } from '../host/anywidget';
import { pageServer } from '../server';
import type { ISnapshot } from '../stream/snapshot';

/** The traits of `Compare` in jupyter_streaminfer/widgets/compare.py. */
interface ITraits {
  prompt: string;
  columns: IColumn[];
  answers: ISnapshot[];
  server: boolean;
  direct: boolean;
}

type Message =
  { type: 'cancel' | 'retry' | 'continue'; column: number } | { type: 'began'; column: number; stream: string | null };

function render({ model, el }: IRenderProps<ITraits, Message>): () => void {
  const view = new CompareView(el, model.get('prompt'), model.get('columns'), {
    server: model.get('server') ? pageServer() : null,
    cancel: column => {
      model.send({ type: 'cancel', column });
    },
    retry: column => {
      model.send({ type: 'retry', column });
    },
    continue: column => {
      model.send({ type: 'continue', column });
    },
    attached: () => {
      model.set({ direct: true });
      model.save_changes();
    },
    began: (column, { stream }) => {
      model.send({ type: 'began', column, stream });
    }
  });
  const show = () => {
    view.show(model.get('answers'));
  };
  model.on('change:answers', show);
  show();
  return () => {
    model.off('change:answers', show);
    view.dispose();
  };
}

export default { render };
