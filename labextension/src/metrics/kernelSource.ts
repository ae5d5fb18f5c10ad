import type { IWidgetModel } from '../host/anywidget';
import type { ErrorInfo, Metrics, Sample } from '../protocol';
import { newId } from '../server';
import type { IMetricsListener, IMetricsSource, SourceState, Topic } from './source';
import { Subscribers } from './subscribers';

/** What a page asks of the kernel: samples for one of its views (none: no more of them), or the end of a stream. */
export type KernelRequest =
  { type: 'watch'; view: string; topics: readonly Topic[] } | { type: 'cancel'; stream: string };

/** What the kernel sends (jupyter_streaminfer/widgets/metrics_mirror.py): samples as the server has them, and how it stands. */
type KernelMessage =
  Sample | { type: 'history'; samples: Metrics[] } | { type: 'state'; state: SourceState; error: ErrorInfo | null };

/** Samples through the kernel behind a widget, for pages that do not reach the server: VS Code, Colab, an engine in the kernel. */
export class KernelSource implements IMetricsSource {
  constructor(private readonly _model: Pick<IWidgetModel<object, KernelRequest>, 'send' | 'on' | 'off'>) {
    this._model.on('msg:custom', this._receive);
  }

  subscribe(topics: readonly Topic[], listener: IMetricsListener): () => void {
    return this._subscribers.add(topics, listener);
  }

  retry(): void {
    this._subscribers.state('connecting');
    this._watch(this._subscribers.topics);
  }

  cancel(stream: string): void {
    this._model.send({ type: 'cancel', stream });
  }

  dispose(): void {
    this._subscribers.clear();
    this._model.off('msg:custom', this._receive);
    this._watch([]);
  }

  private _watch(topics: readonly Topic[]): void {
    this._model.send({ type: 'watch', view: this._view, topics });
  }

  private readonly _receive = (content: unknown): void => {
    const message = content as KernelMessage;
    switch (message.type) {
      case 'state':
        this._subscribers.state(message.state, message.error);
        break;
      case 'history':
        this._subscribers.history(message.samples);
        break;
      default:
        this._subscribers.sample(message);
    }
  };

  private readonly _subscribers = new Subscribers(topics => {
    this._watch(topics);
  });
  /** The widget may be shown several times; each view asks for itself, and all are told. */
  private readonly _view = newId();
}
