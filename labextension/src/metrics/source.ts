import type { ErrorInfo, Metrics, ModelStatus, StreamsSample, Watch } from '../protocol';

export type Topic = Watch['topics'][number];

export type SourceState = 'connecting' | 'live' | 'disconnected' | 'failed';

/** What a source tells; each one only where its topic was asked for. */
export interface IMetricsListener {
  /** The samples before those that follow, the oldest first; again after each lost connection, then instead of all before. */
  history?(samples: Metrics[]): void;
  metrics?(sample: Metrics): void;
  models?(models: ModelStatus[]): void;
  streams?(sample: StreamsSample): void;
  /** `disconnected` is on its way back; `failed` is not, and has an error. */
  state?(state: SourceState, error: ErrorInfo | null): void;
}

/** Where samples come from: the page's own server, or the kernel behind a widget. */
export interface IMetricsSource {
  /** What is told: asked for while somebody listens to it, and no longer. Returns what ends that. */
  subscribe(topics: readonly Topic[], listener: IMetricsListener): () => void;
  /** Try once more after `failed`. */
  retry(): void;
  /** End a stream, where the source can. */
  cancel?(stream: string): void;
  dispose(): void;
}
