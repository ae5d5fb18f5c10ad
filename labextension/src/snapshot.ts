import type { ErrorInfo, Generate } from './protocol';

/** Where a view stands; the last four are ends, `disconnected` one that may be followed by a reconnection. */
export type StreamState = 'connecting' | 'streaming' | 'completed' | 'cancelled' | 'failed' | 'disconnected';

export interface IFigures {
  tokens: number;
  /** Over all tokens but the first, on the server's clock; null below two tokens. */
  tokens_per_s: number | null;
  /** From the acceptance of the request to its first token, on the server's clock. */
  ttft_ms: number | null;
}

/** A stream as it was at one moment: what a kernel sends and a notebook keeps. */
export interface ISnapshot {
  stream: string | null;
  epoch: string | null;
  request: Generate | null;
  text: string;
  state: StreamState;
  figures: IFigures | null;
  error: ErrorInfo | null;
}

/** Whether nothing can follow this state. */
export function isFinal(state: StreamState): boolean {
  return state === 'completed' || state === 'cancelled' || state === 'failed';
}
