import '../../../style/theme.css';
import '../../../style/dashboard.css';
import '../../../style/timeline.css';

import type { IRenderProps } from '../host/anywidget';
import { TimelineView } from '../timeline/timelineView';
import type { IRow, Track } from '../timeline/track';

/** The traits of `Timeline` in jupyter_streaminfer/widgets/timeline.py. */
interface ITraits {
  rows: IRow[];
}

/** Tokens of several streams; the times of all of them, one after another, are in the message's buffer as float64. */
interface ITokens {
  type: string;
  parts: { stream: number; first: number; texts: string[] }[];
}

function render({ model, el }: IRenderProps<ITraits, { type: 'show' }>): () => void {
  const view = new TimelineView(el);
  const rows = (): void => {
    view.tracks.setRows(model.get('rows'));
    view.update();
  };
  const receive = (content: unknown, buffers: DataView[]): void => {
    const message = content as ITokens;
    const [buffer] = buffers;
    if (message.type === 'tokens') {
      // A copy: the buffer need not lie where an array of numbers may begin.
      const times = new Float64Array(buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength));
      let begin = 0;
      for (const { stream, first, texts } of message.parts) {
        const track = view.tracks.all[stream] as Track | undefined;
        track?.take(first, times.subarray(begin, begin + texts.length), texts);
        begin += texts.length;
      }
      view.update();
    }
  };
  model.on('change:rows', rows);
  model.on('msg:custom', receive);
  rows();
  model.send({ type: 'show' });
  return () => {
    model.off('change:rows', rows);
    model.off('msg:custom', receive);
    view.dispose();
  };
}

export default { render };
