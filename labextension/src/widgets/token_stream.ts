import '../../../style/theme.css';
import '../../../style/markdown.css';
import '../../../style/tokenStream.css';

import type { IRenderProps, IWidgetModel } from '../host/anywidget';
import { TokenStreamController } from '../stream/controller';
import { pageServer } from '../server';
import type { ISnapshot } from '../stream/snapshot';

/** The traits of `TokenStream` in jupyter_streaminfer/widgets/token_stream.py. */
interface ITraits extends ISnapshot {
  server: boolean;
  direct: boolean;
}

type Message = { type: 'cancel' | 'retry' | 'continue' };
type Model = IWidgetModel<ITraits, Message>;

function snapshot(model: Model): ISnapshot {
  return {
    stream: model.get('stream'),
    epoch: model.get('epoch'),
    request: model.get('request'),
    begun: model.get('begun'),
    text: model.get('text'),
    state: model.get('state'),
    figures: model.get('figures'),
    error: model.get('error'),
    progress: model.get('progress'),
    resumable: model.get('resumable'),
    tokens: model.get('tokens')
  };
}

function render({ model, el }: IRenderProps<ITraits, Message>): () => void {
  const controller = new TokenStreamController(el, {
    server: model.get('server') ? pageServer() : null,
    attached: () => {
      model.set({ direct: true });
      model.save_changes();
    },
    stop: () => {
      model.send({ type: 'cancel' });
    },
    retry: () => {
      model.send({ type: 'retry' });
    },
    continue: () => {
      model.send({ type: 'continue' });
    },
    changed: (current, started) => {
      if (started) {
        model.set(current);
        model.save_changes();
      }
    }
  });
  const show = () => {
    controller.show(snapshot(model));
  };
  model.on('change', show);
  show();
  return () => {
    model.off('change', show);
    controller.dispose();
  };
}

export default { render };
