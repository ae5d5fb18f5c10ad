import '../../style/base.css';

import { TokenStreamController } from './controller';
import { pageServer } from './server';
import type { ISnapshot } from './snapshot';

/** What anywidget gives: the kernel's traits, and a way to write back. */
interface IModel {
  get<K extends keyof ITraits>(name: K): ITraits[K];
  set(changes: Partial<ITraits>): void;
  save_changes(): void;
  send(content: { type: 'cancel' | 'retry' | 'continue' }): void;
  on(event: 'change', callback: () => void): void;
  off(event: 'change', callback: () => void): void;
}

/** The traits of `TokenStream` in jupyter_streaminfer/widgets/token_stream.py. */
interface ITraits extends ISnapshot {
  server: boolean;
  direct: boolean;
}

function snapshot(model: IModel): ISnapshot {
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
    resumable: model.get('resumable')
  };
}

function render({ model, el }: { model: IModel; el: HTMLElement }): () => void {
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
