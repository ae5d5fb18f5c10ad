import type {
  Cancelled,
  Completed,
  Delta,
  ErrorInfo,
  Failed,
  Incomplete,
  Notice,
  Partial,
  Snapshot
} from '../protocol';

export type Terminal = Completed | Cancelled | Failed | Incomplete;

/** What a reader tells, in the order of the stream's log: every event once. */
export interface IReaderEvents {
  /**
   * The server has the stream. Where there is a `beginning`, what was told before is void, and deltas follow on that:
   * on nothing, or on what stands for the events that the server no longer keeps.
   */
  attached(stream: string, epoch: string, beginning: Snapshot | null): void;
  delta(delta: Delta): void;
  /** A value that a run yielded. */
  partial(partial: Partial): void;
  /** Something to know about the stream, which is none of its events. */
  notice(notice: Notice): void;
  /** The terminal event. Nothing follows. */
  ended(event: Terminal): void;
  /** The server said no, or could never be reached. Nothing follows. */
  refused(error: ErrorInfo): void;
  /** The server is busy: the request is sent again after so many milliseconds. */
  waiting(error: ErrorInfo, ms: number): void;
  /** The request was taken back before the server had it. Nothing follows. */
  withdrawn(): void;
  /** The connection is gone; the reader is on its way back. */
  lost(): void;
}
