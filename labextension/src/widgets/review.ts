import '../../../style/theme.css';
import '../../../style/review.css';

import type { IRenderProps } from '../host/anywidget';
import { Desk, type IOp, type IReview } from '../review/desk';
import { ReviewView } from '../review/reviewView';
import { newId } from '../server';

/** The traits of `Review` in jupyter_streaminfer/widgets/review.py. */
interface ITraits extends IReview {
  desk: string;
}

/** What was said in this page outlives a view, which goes when its cell is folded or moved. */
const desks = new Map<string, Desk>();

function render({ model, el }: IRenderProps<ITraits, IOp>): () => void {
  const name = model.get('desk');
  const desk =
    desks.get(name) ??
    new Desk(newId(), op => {
      model.send(op);
    });
  desks.set(name, desk);
  const view = new ReviewView(el, desk);
  const show = () => {
    view.update({
      model: model.get('model'),
      classes: model.get('classes'),
      queue: model.get('queue'),
      items: model.get('items'),
      figures: model.get('figures'),
      taken: model.get('taken'),
      predicting: model.get('predicting'),
      error: model.get('error')
    });
  };
  model.on('change', show);
  show();
  return () => {
    model.off('change', show);
    view.dispose();
  };
}

export default { render };
