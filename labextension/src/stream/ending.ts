import type { Terminal } from './events';
import type { Cancelled, ErrorInfo } from '../protocol';

const CANCELLED: Record<Cancelled['reason'], string> = {
  client: '',
  abandoned: 'The stream was cancelled: nobody read it for too long.',
  unload: 'The stream was cancelled: its model was unloaded.',
  shutdown: 'The stream was cancelled: the server was stopped.'
};

/** Why a stream did not end in order; neither a reader's own Stop nor a deadline for the whole is an error. */
export function whatWentWrong(event: Terminal): ErrorInfo | null {
  if (event.type === 'failed') {
    return event.error;
  }
  const message = event.type === 'cancelled' ? CANCELLED[event.reason] : '';
  return message ? { code: 'cancelled', message } : null;
}
