import type { ChatMessage } from '../protocol';
import type { ISnapshot } from '../stream/snapshot';

/** One turn of a conversation, as `Chat.turns` in jupyter_streaminfer/widgets/chat.py has it. */
export type Turn = { role: 'user'; content: string } | { role: 'assistant'; answer: ISnapshot };

/**
 * What the model is asked: the system prompt and the turns.
 *
 * A question that got no answer is asked together with the one after it, for templates want the roles to alternate.
 */
export function messagesOf(system: string, turns: readonly Turn[]): ChatMessage[] {
  const messages: ChatMessage[] = system ? [{ role: 'system', content: system }] : [];
  for (const turn of turns) {
    const last = messages.length ? messages[messages.length - 1] : null;
    if (turn.role === 'assistant') {
      if (turn.answer.text) {
        messages.push({ role: 'assistant', content: turn.answer.text });
      }
    } else if (last?.role === 'user') {
      last.content += `\n\n${turn.content}`;
    } else {
      messages.push({ role: 'user', content: turn.content });
    }
  }
  return messages;
}
