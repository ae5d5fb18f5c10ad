// Generated from jupyter_streaminfer/protocol by scripts/generate_types.py: do not edit.
export type AnyRequest = Generate | Continue | Run | Predict | Embed | Score | Attach | Cancel | Ping | Watch | Unwatch;
export type ClientMessage = AnyRequest | Ack;
export type Event = Delta | Partial | Completed | Cancelled | Failed | Incomplete;
export type Sample = MetricsSample | ModelsSample | StreamsSample;
export type ServerMessage =
  Event | Attached | Notice | Result | Embeddings | Scores | Error | Ok | Pong | Watching | Sample;

/**
 * What a reader has dealt with, up to ``seq``. It is not answered.
 *
 *     From a stream's first one on, only what was acknowledged counts as read on this connection: without any, what the
 *     socket took.
 */
export interface Ack {
  type: 'ack';
  stream: string;
  seq: number;
}
/**
 * A rule and how it stands; ``GET api/alerts`` lists them.
 */
export interface Alert {
  name: string;
  rule: AlertRule;
  configured: boolean;
  firing: boolean;
  value: number | null;
  since: number | null;
  fired: number;
  message: string;
}
/**
 * A bound on a figure.
 */
export interface AlertRule {
  metric:
    | 'cache_used'
    | 'error_rate'
    | 'itl_p95_ms'
    | 'itl_p99_ms'
    | 'loop_lag_ms'
    | 'memory_bytes'
    | 'predict_p95_ms'
    | 'predict_p99_ms'
    | 'ttft_p95_ms'
    | 'ttft_p99_ms'
    | 'waiting';
  above: number;
  for_s?: number;
  model?: string | null;
  name?: string | null;
}
/**
 * The body of ``PUT api/alerts``: the rules of whoever asks for them, instead of those asked for before.
 *
 *     Those of the server's configuration stay.
 */
export interface AlertRules {
  rules: AlertRule[];
}
/**
 * Start a stream. Exactly one of ``prompt``, ``messages`` and ``token_ids``.
 */
export interface Generate {
  type: 'generate';
  id: string;
  model: string;
  prompt?: string | null;
  messages?: ChatMessage[] | null;
  token_ids?: number[] | null;
  max_tokens?: number | null;
  temperature?: number;
  top_k?: number;
  top_p?: number;
  min_p?: number;
  repetition_penalty?: number;
  presence_penalty?: number;
  frequency_penalty?: number;
  logit_bias?: {
    [k: string]: number;
  };
  stop?: string[];
  stop_token_ids?: number[];
  min_tokens?: number;
  logprobs?: number | null;
  seed?: number | null;
  ignore_eos?: boolean;
  priority?: number;
  chunk_tokens?: number;
  detached?: boolean;
  deadlines?: Deadlines | null;
  key?: string | null;
}
/**
 * One turn of a conversation, for the model's chat template.
 */
export interface ChatMessage {
  role: 'assistant' | 'system' | 'user';
  content: string;
}
/**
 * How long a stream may take, in milliseconds from its acceptance; those that are absent are the server's own.
 */
export interface Deadlines {
  queue_ms?: number | null;
  first_token_ms?: number | null;
  inactivity_ms?: number | null;
  total_ms?: number | null;
}
/**
 * Start a stream that goes on where one that ended without being complete stopped; it tells new tokens only.
 *
 *     The request is that stream's own, and so is its seed: the tokens are those that it would have had.
 */
export interface Continue {
  type: 'continue';
  id: string;
  stream: string;
}
/**
 * Start a stream of a model whose task is ``stream``: what it yields is told as `Partial` and `Delta` events.
 */
export interface Run {
  type: 'run';
  id: string;
  model: string;
  inputs: unknown;
  detached?: boolean;
  deadlines?: Deadlines | null;
  key?: string | null;
}
/**
 * One prediction over rows; answered by one `Result`, which costs no log.
 */
export interface Predict {
  type: 'predict';
  id: string;
  model: string;
  inputs: unknown;
  priority?: number;
  deadline_ms?: number | null;
  cache?: boolean;
  key?: string | null;
}
/**
 * Embeddings of some texts by a language model; answered by one `Embeddings`, which costs no log.
 */
export interface Embed {
  type: 'embed';
  id: string;
  model: string;
  inputs: (string | number[])[];
  pooling?: 'last' | 'mean';
  normalize?: boolean;
}
/**
 * How likely each continuation of a prompt is; answered by one `Scores`, which costs no log.
 */
export interface Score {
  type: 'score';
  id: string;
  model: string;
  prompt: string | number[];
  continuations: (string | number[])[];
}
/**
 * Read a stream: everything after ``after``, then live. Whole or refused.
 */
export interface Attach {
  type: 'attach';
  id: string;
  stream: string;
  epoch?: string | null;
  after?: number;
  snapshot?: boolean;
}
/**
 * End a stream; answered by `Ok`, the stream itself by `Cancelled`. A closed stream stays as it is.
 */
export interface Cancel {
  type: 'cancel';
  id: string;
  stream: string;
}
/**
 * Answered by `Pong`.
 */
export interface Ping {
  type: 'ping';
  id: string;
}
/**
 * Be sent samples of what the engine does, one a second, until `Unwatch`; answered by `Watching`.
 *
 *     Samples are one for all watchers, so they carry no ``id``: a connection has one watch at a time, and another one
 *     takes its place. A watcher that does not read them in time misses some, and in the end is dropped.
 */
export interface Watch {
  type: 'watch';
  id: string;
  topics: ('metrics' | 'models' | 'streams')[];
  history_s?: number;
}
/**
 * Be sent no more samples; answered by `Ok`.
 */
export interface Unwatch {
  type: 'unwatch';
  id: string;
}
/**
 * A version and the part of the requests that it gets.
 */
export interface Arm {
  version: string;
  weight: number;
}
/**
 * What one version did with the requests that were routed to it since the route was set.
 */
export interface ArmStatus {
  version: string;
  weight: number;
  role: 'arm' | 'canary';
  requests: number;
  errors: number;
  refused?: number;
  share?: Interval | null;
  error_rate?: Interval | null;
  latency_ms?: Interval | null;
  latency_p50_ms?: number | null;
  latency_p95_ms?: number | null;
}
/**
 * A figure and its 95 % confidence interval.
 */
export interface Interval {
  value: number;
  low: number;
  high: number;
}
/**
 * The first frame of a stream on a connection, answering `Generate`, `Continue` and `Attach`.
 */
export interface Attached {
  type: 'attached';
  id: string;
  stream: string;
  epoch: string;
  floor: number;
  head: number;
  closed: boolean;
  recovered: boolean;
  snapshot?: Snapshot | null;
}
/**
 * What a stream had brought before its ``floor``.
 */
export interface Snapshot {
  text: string;
  tokens: number;
  values?: number;
}
/**
 * What a dynamic batcher does; counts are since the load.
 */
export interface BatchStats {
  batches: number;
  rows: number;
  full: number;
  preferred: number;
  timed: number;
  max_batch_size: number;
  max_wait_ms: number;
  expired?: number;
  latency_target_ms?: number;
  attainable?: boolean;
}
/**
 * A version on trial beside the arms: taken out by itself where it does worse than they do.
 */
export interface Canary {
  version: string;
  weight: number;
  max_error_rate?: number;
  max_latency_ratio?: number;
  min_requests?: number;
}
export interface Cancelled {
  type: 'cancelled';
  stream: string;
  seq: number;
  reason: 'abandoned' | 'client' | 'shutdown' | 'unload';
  usage: Usage;
  timings: Timings;
}
export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  cached_tokens?: number;
}
/**
 * Milliseconds on the server's clock, from the moment the request was accepted.
 */
export interface Timings {
  queue_ms: number;
  ttft_ms: number | null;
  duration_ms: number;
}
/**
 * One client.
 */
export interface ClientMetrics {
  client: string;
  traffic: TrafficMetrics;
}
/**
 * What some requests took and brought; of all of them, of one model's, or of one client's.
 */
export interface TrafficMetrics {
  open?: number;
  requests?: number;
  requests_per_s?: number;
  tokens_in?: number;
  tokens_out?: number;
  tokens_in_per_s?: number;
  tokens_out_per_s?: number;
  outcomes?: Outcomes;
  errors?: {
    [k: string]: number;
  };
  error_rate?: number | null;
}
/**
 * What became of requests since the engine's start.
 */
export interface Outcomes {
  completed?: number;
  incomplete?: number;
  cancelled?: number;
  disconnected?: number;
  failed?: number;
}
export interface Completed {
  type: 'completed';
  stream: string;
  seq: number;
  finish_reason: 'length' | 'stop';
  usage: Usage;
  timings: Timings;
}
/**
 * New tokens. ``text`` may be empty where a token ends inside a character.
 *
 *     Each text that a model of task ``stream`` yielded is a token without an id: it is in ``at_ms`` only.
 */
export interface Delta {
  type: 'delta';
  stream: string;
  seq: number;
  text: string;
  token_ids: number[];
  at_ms: number[];
  last?: number | null;
  logprobs?: TokenLogprobs[] | null;
}
/**
 * A token of the answer, how likely it was, and the likeliest ones at its place.
 */
export interface TokenLogprobs {
  token_id: number;
  text: string;
  logprob: number;
  top: TopLogprob[];
}
/**
 * A token that was likely at a place.
 */
export interface TopLogprob {
  token_id: number;
  text: string;
  logprob: number;
}
/**
 * How some figures are spread. Quantiles and extremes are within 1 % of themselves (`engine.sketch`).
 */
export interface Distribution {
  count: number;
  mean: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}
export interface Embeddings {
  type: 'embeddings';
  id: string;
  model: string;
  version: string;
  vectors: number[][];
  prompt_tokens: number;
}
/**
 * `ErrorInfo` in a frame; ``id`` is absent where the request's own could not be read.
 */
export interface Error {
  type: 'error';
  code:
    | 'cancelled'
    | 'deadline'
    | 'expired'
    | 'internal'
    | 'invalid_request'
    | 'model_not_found'
    | 'model_not_ready'
    | 'overloaded'
    | 'rate_limited'
    | 'stream_not_found'
    | 'too_large'
    | 'upload_not_found'
    | 'worker_lost';
  message: string;
  retryable: boolean;
  id?: string | null;
  field?: string | null;
  retry_after_ms?: number | null;
}
/**
 * Why something was refused or failed, in the one shape that errors have everywhere.
 */
export interface ErrorInfo {
  code:
    | 'cancelled'
    | 'deadline'
    | 'expired'
    | 'internal'
    | 'invalid_request'
    | 'model_not_found'
    | 'model_not_ready'
    | 'overloaded'
    | 'rate_limited'
    | 'stream_not_found'
    | 'too_large'
    | 'upload_not_found'
    | 'worker_lost';
  message: string;
  retryable?: boolean;
  field?: string | null;
  retry_after_ms?: number | null;
}
/**
 * A value that a model of task ``stream`` yielded: progress, an intermediate or a final one. Never merged.
 */
export interface Partial {
  type: 'partial';
  stream: string;
  seq: number;
  value: unknown;
  at_ms: number;
}
/**
 * What was received before it stays valid.
 */
export interface Failed {
  type: 'failed';
  stream: string;
  seq: number;
  error: ErrorInfo;
  usage: Usage;
  timings: Timings;
  resumable?: boolean;
}
/**
 * It ended in order before its end; what was received is valid, and `Continue` can go on after it.
 */
export interface Incomplete {
  type: 'incomplete';
  stream: string;
  seq: number;
  reason: 'deadline';
  usage: Usage;
  timings: Timings;
}
export interface Health {
  status: 'degraded' | 'ok' | 'stopping';
  version: string;
  models: number;
  streams: number;
  connections: number;
}
/**
 * How long it took, over the window; None where there was nothing to measure.
 */
export interface LatencyMetrics {
  ttft_ms?: Distribution | null;
  itl_ms?: Distribution | null;
  queue_ms?: Distribution | null;
  prefill_ms?: Distribution | null;
  decode_ms?: Distribution | null;
  stream_ms?: Distribution | null;
  predict_ms?: Distribution | null;
}
/**
 * How likely a continuation is, in natural logarithms.
 */
export interface Likelihood {
  logprob: number;
  token_logprobs: number[];
  greedy: boolean;
}
/**
 * The body of ``POST api/models``.
 */
export interface LoadModel {
  path?: string | null;
  version?: string | null;
  dtype?: 'auto' | 'bfloat16' | 'float32' | 'int8';
  placement?: 'auto' | 'process' | 'thread';
  signature?: Signature | null;
  arguments?: {
    [k: string]: unknown;
  };
  activate?: boolean;
  name: string;
  pinned?: boolean;
}
/**
 * What every request for predictions is checked against before it is queued.
 */
export interface Signature {
  inputs: TensorSpec[];
  outputs?: TensorSpec[];
  kind?: 'classes' | 'embedding' | 'spans' | 'tensors' | 'values';
  labels?: string[];
}
/**
 * One input or output of a model, as one row has it: without the dimension of the batch.
 */
export interface TensorSpec {
  name: string;
  dtype: 'any' | 'bool' | 'float32' | 'float64' | 'int32' | 'int64' | 'text' | 'uint8';
  shape?: (number | null)[];
  also?: number[][];
  minimum?: number | null;
  maximum?: number | null;
  finite?: boolean;
  max_length?: number | null;
}
/**
 * How far a load is.
 */
export interface LoadProgress {
  stage: 'preparing' | 'reading' | 'starting' | 'waiting' | 'warming up';
  done_bytes?: number;
  total_bytes?: number;
}
/**
 * ``GET api/metrics`` and each second's sample: what the engine carries and what it had to do about it.
 */
export interface Metrics {
  at: number;
  connections: number;
  streams_open: number;
  streams_kept: number;
  streams_paused: number;
  log_bytes: number;
  active_clients: number;
  pending: number;
  queued_tokens: number;
  tokens_per_second: number;
  memory_bytes: number;
  loop_lag_ms: number;
  admitted: number;
  refused: {
    [k: string]: number;
  };
  deadlines: {
    [k: string]: number;
  };
  slow_consumers: number;
  pauses: number;
  retries: number;
  restarts: number;
  swaps: number;
  loads: {
    [k: string]: number;
  };
  load_ms: Distribution | null;
  cache_hits: number;
  cache_misses: number;
  cache_bytes: number;
  watchers: number;
  watchers_dropped: number;
  traffic: TrafficMetrics;
  latencies: LatencyMetrics;
  models: ModelMetrics[];
  clients: ClientMetrics[];
  odd: {
    [k: string]: number;
  };
  alerts: Alert[];
  gpu_utilisation?: number | null;
  gpu_memory_used?: number | null;
}
/**
 * One version of a model, by how requests came to it.
 *
 *     What a version does, whoever asked, is in its row without an ``arm``: ``running`` and all that follows it. So the
 *     rows of a version add up. Where there are more versions than rows, the rest share one, by the name of `OTHER`.
 */
export interface ModelMetrics {
  model: string;
  version: string;
  arm: string;
  traffic: TrafficMetrics;
  latencies: LatencyMetrics;
  running?: number;
  waiting?: number;
  cache_used?: number | null;
  prefix_hit_rate?: number | null;
  batch_size?: Distribution | null;
  flushes?: {
    [k: string]: number;
  };
}
/**
 * Topic ``metrics``.
 */
export interface MetricsSample {
  type: 'metrics';
  metrics: Metrics;
}
/**
 * What a loaded model is and takes.
 */
export interface ModelInfo {
  task: 'generate' | 'predict' | 'stream';
  architecture: string;
  parameters: number;
  weight_bytes: number;
  device: string;
  dtype: string;
  runner?: string;
  context_length?: number;
  max_batch_size?: number;
  cache_bytes?: number;
  chat?: boolean;
  signature?: Signature | null;
}
/**
 * What a model's scheduler and KV cache, or its batcher, are doing; counts are since the load.
 */
export interface ModelStats {
  running: number;
  waiting: number;
  preemptions: number;
  cache_used: number;
  prefix_tokens: number;
  prefix_hits: number;
  batcher?: BatchStats | null;
  batch_sizes?: {
    [k: string]: number;
  };
}
/**
 * One version of a model.
 */
export interface ModelStatus {
  name: string;
  version: string;
  state: 'failed' | 'loading' | 'ready' | 'restarting' | 'retiring' | 'unloaded' | 'unloading';
  path: string;
  placement: string;
  latest?: boolean;
  pinned?: boolean;
  progress?: LoadProgress | null;
  loaded_ms?: number;
  age_s?: number;
  idle_s?: number;
  memory_bytes?: number;
  active?: number;
  requests?: number;
  restarts?: number;
  info?: ModelInfo | null;
  error?: ErrorInfo | null;
  stats?: ModelStats | null;
}
/**
 * Topic ``models``.
 */
export interface ModelsSample {
  type: 'models';
  models: ModelStatus[];
}
/**
 * Something to know about a stream, said to one consumer; it is not in the log and has no ``seq``.
 */
export interface Notice {
  type: 'notice';
  stream: string;
  code: 'alert' | 'long' | 'paused' | 'repeating' | 'resumed' | 'retrying' | 'slow_consumer' | 'stalled';
  message: string;
}
export interface Ok {
  type: 'ok';
  id: string;
}
/**
 * What became of requests since the engine's start.
 */
export interface Outcomes1 {
  completed?: number;
  incomplete?: number;
  cancelled?: number;
  disconnected?: number;
  failed?: number;
}
export interface Pong {
  type: 'pong';
  id: string;
}
/**
 * The answer for one row.
 */
export interface Prediction {
  label: string;
  confidence: number;
  scores: Scored[];
}
/**
 * One class and how sure the model is of it.
 */
export interface Scored {
  label: string;
  confidence: number;
}
export interface Result {
  type: 'result';
  id: string;
  model: string;
  version: string;
  outputs: unknown;
  cached?: boolean;
}
/**
 * The body of ``PUT api/models/NAME/route``: which versions answer who names none.
 */
export interface Route {
  arms: Arm[];
  canary?: Canary | null;
  shadow?: Shadow | null;
}
/**
 * A version that is asked too, and whose answers are compared with those returned.
 */
export interface Shadow {
  version: string;
  fraction?: number;
  tolerance?: number;
}
/**
 * ``GET api/models/NAME/route``.
 */
export interface RouteStatus {
  route: Route;
  arms: ArmStatus[];
  shadow?: ShadowStatus | null;
  rolled_back?: string | null;
  waiting?: string[];
}
export interface ShadowStatus {
  version: string;
  compared: number;
  agreement?: Interval | null;
  largest_difference?: number;
  errors?: number;
  dropped?: number;
}
/**
 * Topic ``streams``.
 */
export interface StreamsSample {
  type: 'streams';
  streams: StreamStatus[];
  left_out?: number;
  open?: number;
}
/**
 * One stream of the engine, without its events.
 */
export interface StreamStatus {
  stream: string;
  epoch: string;
  model: string;
  version: string;
  state: 'cancelled' | 'completed' | 'failed' | 'incomplete' | 'open';
  floor: number;
  head: number;
  consumers: number;
  detached: boolean;
  age_ms: number;
  tokens?: number;
  paused?: boolean;
  client?: string;
  arm?: string;
  began?: number;
  prompt_tokens?: number;
  cached_tokens?: number;
  queue_ms?: number | null;
  ttft_ms?: number | null;
  duration_ms?: number | null;
  itl_mean_ms?: number | null;
  itl_max_ms?: number | null;
  tokens_per_s?: number | null;
  finish_reason?: string | null;
  error?: ErrorInfo | null;
  odd?: ('long' | 'repeating' | 'short' | 'stalled')[];
}
export interface Scores {
  type: 'scores';
  id: string;
  model: string;
  version: string;
  scores: Likelihood[];
  prompt_tokens: number;
}
/**
 * The answer to `Watch`.
 */
export interface Watching {
  type: 'watching';
  id: string;
  interval_s: number;
  history: Metrics[];
}
/**
 * A part of a text and what it is.
 */
export interface Span {
  start: number;
  end: number;
  text: string;
  label: string;
  confidence: number;
}
/**
 * ``GET api/streams/ID``: the whole log so far as one reading.
 */
export interface StreamDocument {
  status: StreamStatus;
  text: string;
  events: (Delta | Partial | Completed | Cancelled | Failed | Incomplete)[];
}
