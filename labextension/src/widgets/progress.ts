import '../../../style/theme.css';
import '../../../style/progress.css';

import type { IRenderProps } from '../host/anywidget';
import { ProgressView, type ITraining } from '../progress/progressView';

function render({ model, el }: IRenderProps<ITraining>): () => void {
  const view = new ProgressView(el);
  const show = () => {
    view.update({
      title: model.get('title'),
      epochs: model.get('epochs'),
      epoch: model.get('epoch'),
      step: model.get('step'),
      steps: model.get('steps'),
      state: model.get('state'),
      share: model.get('share'),
      elapsed_s: model.get('elapsed_s'),
      left_s: model.get('left_s'),
      series: model.get('series'),
      samples: model.get('samples'),
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
