import '../../../style/theme.css';
import '../../../style/markdown.css';
import '../../../style/tokenStream.css';
import '../../../style/chat.css';

import { ChatView } from '../chat/chatView';
import type { Turn } from '../chat/turns';
import type { IRenderProps } from '../host/anywidget';
import type { Generate } from '../protocol';
import { pageServer } from '../server';
import type { ISnapshot } from '../stream/snapshot';

/** The traits of `Chat` in jupyter_streaminfer/widgets/chat.py. */
interface ITraits {
  system: string;
  turns: Turn[];
  said: number;
  heard: number;
  live: ISnapshot | null;
  request: Generate;
  server: boolean;
  direct: boolean;
  /** Of the page alone: what is written and not sent, for when the view is drawn anew. */
  draft: string | undefined;
}

type Message = { type: 'answer' | 'continue' | 'stop' | 'keep' };

function render({ model, el }: IRenderProps<ITraits, Message>): () => void {
  let mine = '';
  let kept = true;
  const state = () => JSON.stringify([model.get('turns'), model.get('system')]);
  const view = new ChatView(
    el,
    {
      server: model.get('server') ? pageServer() : null,
      request: model.get('request'),
      changed: (turns, system) => {
        mine = JSON.stringify([turns, system]);
        kept = false;
        model.set({ turns, system, said: model.get('said') + 1 });
        model.save_changes();
      },
      answer: () => {
        model.send({ type: 'answer' });
      },
      continue: () => {
        model.send({ type: 'continue' });
      },
      stop: () => {
        model.send({ type: 'stop' });
      },
      attached: () => {
        model.set({ direct: true });
        model.save_changes();
      },
      drafted: draft => {
        model.set({ draft });
      }
    },
    model.get('draft') ?? ''
  );
  const show = () => {
    const current = state();
    if (current !== mine && model.get('heard') < model.get('said')) {
      // A busy kernel told how an answer had ended, and does not know yet what was said here since.
      view.tell();
    } else if (current !== mine) {
      mine = current;
      kept = false;
      view.show(model.get('turns'), model.get('system'));
    }
  };
  const showLive = () => {
    const live = model.get('live');
    if (live) {
      view.showLive(live);
    }
  };
  // What the notebook keeps is drawn anew when it is brought up to date: not under somebody's hands.
  const left = ({ relatedTarget }: FocusEvent) => {
    if (!kept && !(relatedTarget instanceof Node && el.contains(relatedTarget))) {
      kept = true;
      model.send({ type: 'keep' });
    }
  };
  model.on('change:turns', show);
  model.on('change:system', show);
  model.on('change:live', showLive);
  el.addEventListener('focusout', left);
  show();
  showLive();
  return () => {
    model.off('change:turns', show);
    model.off('change:system', show);
    model.off('change:live', showLive);
    el.removeEventListener('focusout', left);
    view.dispose();
  };
}

export default { render };
