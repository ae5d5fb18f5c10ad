// Generated from jupyter_streaminfer/protocol by scripts/generate_types.py: do not edit.
export type AnyRequest = Generate | Predict | Embed | Score | Attach | Cancel | Ping;
export type Event = Delta | Completed | Cancelled | Failed;
export type ServerMessage = Event | Attached | Result | Embeddings | Scores | Error | Ok | Pong;

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
}
/**
 * One turn of a conversation, for the model's chat template.
 */
export interface ChatMessage {
  role: 'assistant' | 'system' | 'user';
  content: string;
}
/**
 * One prediction over rows; answered by one `Result`, which costs no log.
 */
export interface Predict {
  type: 'predict';
  id: string;
  model: string;
  inputs: unknown[];
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
 * The first frame of a stream on a connection, answering `Generate` and `Attach`.
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
    | 'worker_lost';
  message: string;
  retryable?: boolean;
  field?: string | null;
  retry_after_ms?: number | null;
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
}
export interface Health {
  status: 'degraded' | 'ok' | 'stopping';
  version: string;
  models: number;
  streams: number;
  connections: number;
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
 * What a loaded model is and takes.
 */
export interface ModelInfo {
  task: 'generate' | 'predict';
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
  input_shape?: number[];
  labels?: string[];
}
/**
 * What a language model's scheduler and KV cache are doing; counts are since the load.
 */
export interface ModelStats {
  running: number;
  waiting: number;
  preemptions: number;
  cache_used: number;
  prefix_tokens: number;
  prefix_hits: number;
}
/**
 * One model of the registry.
 */
export interface ModelStatus {
  name: string;
  version: string;
  state: 'failed' | 'loading' | 'ready' | 'unloading';
  path: string;
  placement: string;
  loaded_ms?: number;
  active?: number;
  requests?: number;
  info?: ModelInfo | null;
  error?: ErrorInfo | null;
  stats?: ModelStats | null;
}
export interface Ok {
  type: 'ok';
  id: string;
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
  outputs: Prediction[];
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
 * ``GET api/streams/ID``: the whole log so far as one reading.
 */
export interface StreamDocument {
  status: StreamStatus;
  text: string;
  events: (Delta | Completed | Cancelled | Failed)[];
}
/**
 * One stream of the engine, without its events.
 */
export interface StreamStatus {
  stream: string;
  epoch: string;
  model: string;
  version: string;
  state: 'cancelled' | 'completed' | 'failed' | 'open';
  floor: number;
  head: number;
  consumers: number;
  detached: boolean;
  age_ms: number;
}
