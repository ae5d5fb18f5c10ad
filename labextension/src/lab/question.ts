import type { TranslationBundle } from '@jupyterlab/translation';

import type { ChatMessage } from '../protocol';
import { button, element } from '../view';
import type { Question } from './code';
import { choice, Field, lines } from './field';

type Role = ChatMessage['role'];

const ROLES: readonly Role[] = ['user', 'assistant', 'system'];
const PROMPT_CHARACTERS = 1_000_000;
const TURNS = 1000;

/** What is asked: a prompt, or the turns of a chat. */
export class QuestionForm {
  readonly node = element('div', 'jp-StreaminferQuestion');

  constructor(private readonly _trans: TranslationBundle) {
    const trans = _trans;
    const kinds = element('div', 'jp-StreaminferQuestion-kinds');
    kinds.setAttribute('role', 'group');
    kinds.setAttribute('aria-label', trans.__('What is asked'));
    kinds.append(this._promptKind, this._chatKind);
    this._prompt = new Field(trans.__('Prompt'), lines(5));
    this._prompt.input.maxLength = PROMPT_CHARACTERS;
    this._chat.append(
      this._turns,
      button(trans.__('Add a turn'), 'jp-Streaminfer-button', () => {
        this._add({ role: 'user', content: '' }).focus();
      })
    );
    this.node.append(kinds, this._prompt.node, this._chat);
    this._choose(false);
    this._add({ role: 'user', content: '' });
  }

  /** What is asked; null where nothing is, which is said. */
  read(): Pick<Question, 'prompt'> | Pick<Question, 'messages'> | null {
    if (!this._chatting) {
      const prompt = this._prompt.input.value;
      this._prompt.fault(prompt ? '' : this._trans.__('Something to go on from is needed.'));
      if (!prompt) {
        this._prompt.input.focus();
      }
      return prompt ? { prompt } : null;
    }
    const messages = this._fields.map(({ role, content }) => ({
      role: role.value as Role,
      content: content.input.value
    }));
    const empty = this._fields.filter(({ content }) => content.input.value === '');
    for (const { content } of this._fields) {
      content.fault(content.input.value ? '' : this._trans.__('This turn is empty: write it, or remove it.'));
    }
    empty[0]?.content.input.focus();
    return empty.length || !messages.length ? null : { messages };
  }

  /** Ask what was asked before. */
  write({ prompt, messages }: Question): void {
    this._choose(!!messages);
    this._prompt.input.value = prompt ?? '';
    this._prompt.fault('');
    if (messages) {
      this._turns.replaceChildren();
      this._fields.length = 0;
      messages.forEach(each => this._add(each));
    }
  }

  /** Go on after an answer, as a chat. */
  goOn(question: Question, answer: string): void {
    const before = question.messages ?? [{ role: 'user', content: question.prompt ?? '' }];
    this.write({ messages: [...before, { role: 'assistant', content: answer }, { role: 'user', content: '' }] });
    this._fields.slice(-1).forEach(({ content }) => {
      content.input.focus();
    });
  }

  /** Begin here. */
  focus(): void {
    const fields = this._chatting ? this._fields.map(({ content }) => content) : [this._prompt];
    fields.slice(0, 1).forEach(({ input }) => {
      input.focus();
    });
  }

  private _choose(chatting: boolean): void {
    this._chatting = chatting;
    this._prompt.node.hidden = chatting;
    this._chat.hidden = !chatting;
    this._promptKind.setAttribute('aria-pressed', `${!chatting}`);
    this._chatKind.setAttribute('aria-pressed', `${chatting}`);
  }

  private _add({ role, content }: ChatMessage): HTMLTextAreaElement {
    const trans = this._trans;
    const row = element('div', 'jp-StreaminferTurn');
    const roles = choice(ROLES, role);
    roles.setAttribute('aria-label', trans.__('Who says this turn'));
    roles.className = 'jp-StreaminferTurn-role';
    const field = { role: roles, content: new Field(trans.__('Turn %1', this._fields.length + 1), lines(2)) };
    field.content.input.value = content;
    field.content.input.maxLength = PROMPT_CHARACTERS;
    const gone = button(trans.__('Remove'), 'jp-Streaminfer-button', () => {
      this._fields.splice(this._fields.indexOf(field), 1);
      row.remove();
      this._fields.slice(-1).forEach(({ content }) => {
        content.input.focus();
      });
    });
    const head = element('div', 'jp-StreaminferTurn-head');
    head.append(roles, gone);
    row.append(head, field.content.node);
    if (this._fields.length < TURNS) {
      this._fields.push(field);
      this._turns.append(row);
    }
    return field.content.input;
  }

  private readonly _prompt: Field<HTMLTextAreaElement>;
  private readonly _chat = element('div');
  private readonly _turns = element('div');
  private readonly _promptKind = button(this._trans.__('Prompt'), 'jp-Streaminfer-button', () => {
    this._choose(false);
  });
  private readonly _chatKind = button(this._trans.__('Chat'), 'jp-Streaminfer-button', () => {
    this._choose(true);
  });
  private readonly _fields: { role: HTMLSelectElement; content: Field<HTMLTextAreaElement> }[] = [];
  private _chatting = false;
}
