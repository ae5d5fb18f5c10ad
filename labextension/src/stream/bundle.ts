import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';

import { isFinal, type ISnapshot, type StreamState } from './snapshot';

type Bundle = IRenderMime.IMimeModel['data'];

/** What a notebook holds of a stream, as jupyter_streaminfer/widgets/bundle.py writes it. */
export const MIME_TYPE = 'application/vnd.jupyter-streaminfer.stream.v1+json';

/** The stream in an output; a notebook that is not trusted gets no request, for it could ask for anything. */
export function readBundle(model: IRenderMime.IMimeModel): ISnapshot {
  const shown = model.data[MIME_TYPE] as unknown as Pick<ISnapshot, 'text' | 'state' | 'error'>;
  const about = (model.metadata[MIME_TYPE] ?? {}) as unknown as Partial<ISnapshot>;
  return {
    stream: about.stream ?? null,
    epoch: about.epoch ?? null,
    request: model.trusted ? (about.request ?? null) : null,
    begun: about.begun ?? null,
    figures: about.figures ?? null,
    text: shown.text,
    state: shown.state,
    error: shown.error,
    progress: null,
    resumable: about.resumable ?? false,
    tokens: about.tokens ?? null
  };
}

/** The output that says `snapshot`, for viewers with and without this extension. */
export function writeBundle(snapshot: ISnapshot): { data: Bundle; metadata: Bundle } {
  const { text, state, error, stream, epoch, request, begun, figures, resumable, tokens = null } = snapshot;
  const ending = describeEnding(snapshot);
  const html =
    `<pre style="white-space: pre-wrap; overflow-wrap: anywhere">${escape(text)}</pre>` +
    (ending ? `<p><em>${escape(ending)}</em></p>` : '');
  const data = {
    [MIME_TYPE]: { text, state, error },
    'text/html': html,
    'text/plain': ending ? `${text}\n\n${ending}` : text
  };
  return {
    data: data as unknown as Bundle,
    metadata: { [MIME_TYPE]: { stream, epoch, request, begun, figures, resumable, tokens } } as unknown as Bundle
  };
}

const ENDINGS: Partial<Record<StreamState, string>> = {
  cancelled: '[stopped]',
  incomplete: '[incomplete: its time was over]'
};

function describeEnding({ state, error }: ISnapshot): string {
  if (error) {
    return `[${state}: ${error.message}]`;
  }
  return ENDINGS[state] ?? (isFinal(state) ? '' : '[streaming…]');
}

function escape(text: string): string {
  const names: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#x27;' };
  return text.replace(/[&<>"']/g, character => names[character] ?? character);
}
