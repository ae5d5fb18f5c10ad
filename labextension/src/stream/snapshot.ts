import type { IToken } from './confidence';
import type { ErrorInfo, Generate, Run, Snapshot } from '../protocol';

/** Where a view stands; the last five are ends, `disconnected` one that may be followed by a reconnection. */
export type StreamState =
  'connecting' | 'streaming' | 'completed' | 'incomplete' | 'cancelled' | 'failed' | 'disconnected';

export interface IFigures {
  tokens: number;
  /** Over all tokens but the first, on the server's clock; null below two tokens. */
  tokens_per_s: number | null;
  /** From the acceptance of the request to its first token, on the server's clock. */
  ttft_ms: number | null;
  /** From one token to the next; null below two tokens, absent in what older versions saved. */
  itl_p50_ms?: number | null;
  itl_p95_ms?: number | null;
  /** Until the first computation, and until the end; null before that. */
  queue_ms?: number | null;
  duration_ms?: number | null;
}

export interface IProgress {
  /** 0 to 1. */
  value: number;
  message: string;
}

/** A stream as it was at one moment: what a kernel sends and a notebook keeps. */
export interface ISnapshot {
  stream: string | null;
  epoch: string | null;
  request: Generate | Run | null;
  /** What `text` and `figures` have of the streams that this one goes on after; null where it began by itself. */
  begun: Snapshot | null;
  text: string;
  state: StreamState;
  figures: IFigures | null;
  error: ErrorInfo | null;
  /** Of a run, the latest that it said of it. */
  progress: IProgress | null;
  /** Whether the server can go on where a stream that failed stopped. */
  resumable: boolean;
  /** The tokens of the beginning of the text, where the request asked how likely they were; null otherwise. */
  tokens?: readonly IToken[] | null;
}

/** Whether nothing can follow this state. */
export function isFinal(state: StreamState): boolean {
  return state === 'completed' || state === 'incomplete' || state === 'cancelled' || state === 'failed';
}

/** Whether another stream can go on where this one stopped. */
export function canContinue({ stream, request, state, resumable }: ISnapshot): boolean {
  return stream !== null && request?.type !== 'run' && (state === 'incomplete' || (state === 'failed' && resumable));
}
