import type { Generate } from '../protocol';
import type { IServer } from '../server';
import { TokenStreamController } from '../stream/controller';
import { isFinal, type ISnapshot } from '../stream/snapshot';
import { element, flatButton, type IView } from '../view';
import { InputBox } from './inputBox';
import { Question } from './question';
import { SystemPrompt } from './systemPrompt';
import { Thread } from './thread';
import { messagesOf, type Turn } from './turns';

/** What surrounds a conversation: a widget with a kernel behind it, or a page with a server alone. */
export interface IChatHost {
  /** The page asks and reads by itself; null: it asks the kernel. */
  server: IServer | null;
  /** What is asked, but for the messages. */
  request: Generate;
  /** The turns or the system prompt are others now. */
  changed(turns: Turn[], system: string): void;
  /** Have the kernel answer the turns as they are, stop that, or go on with it. */
  answer?(): void;
  stop?(): void;
  continue?(): void;
  /** The page reads an answer by itself. */
  attached?(): void;
  /** What is written and not sent. */
  drafted?(text: string): void;
}

interface IPlace {
  node: HTMLElement;
  view: Question | TokenStreamController;
}

/** A conversation with a model. Framework-free. */
export class ChatView implements IView {
  constructor(
    parent: HTMLElement,
    private readonly _host: IChatHost,
    draft = ''
  ) {
    const model = element('bdi', 'jp-StreaminferChat-model', _host.request.model);
    const clear = flatButton('Clear', '', () => {
      this._ask(0, null);
      this._input.focus();
    });
    this._clear = clear;
    const header = element('div', 'jp-Streaminfer-bar jp-mod-head');
    header.append(model, this._summary, this._system.button, clear);
    this._status.setAttribute('role', 'status');
    this._input = new InputBox(
      'Message',
      text => this._ask(this._places.length, text),
      undefined,
      written => {
        _host.drafted?.(written);
      }
    );
    this._input.value = draft;
    this._root.setAttribute('role', 'group');
    this._root.setAttribute('aria-label', `Chat with ${_host.request.model}`);
    this._root.append(header, this._system.node, this._thread.node, this._status, this._input.node);
    parent.append(this._root);
    this._refresh();
  }

  /** Show these turns: those that are there already stay as they are. */
  show(turns: readonly Turn[], system: string): void {
    this._system.value = system;
    this._waiting = false;
    const same = turns.findIndex((turn, index) => !this._shows(index, turn));
    this._cut(same < 0 ? turns.length : same);
    turns.forEach((turn, index) => {
      const view = index < this._places.length ? this._places[index].view : null;
      if (turn.role === 'user') {
        if (!view) {
          this._addQuestion(turn.content);
        }
      } else {
        const answer = view instanceof TokenStreamController ? view : this._addAnswer();
        answer.show({ ...turn.answer, request: this._request(index) });
      }
    });
    this._refresh();
  }

  /** Show more of the answer that a kernel reads. */
  showLive(answer: ISnapshot): void {
    const last = this._last();
    if (last?.snapshot && last.snapshot.stream === answer.stream) {
      last.show({ ...answer, request: this._request(this._places.length - 1) });
    }
  }

  /** The turns as they are. */
  get turns(): Turn[] {
    return this._places.map(({ view }) =>
      view instanceof Question
        ? { role: 'user', content: view.content }
        : { role: 'assistant', answer: { ...(view.snapshot ?? NO_ANSWER), request: null } }
    );
  }

  /** Tell the turns as they are. */
  tell(): void {
    this._host.changed(this.turns, this._system.value);
  }

  dispose(): void {
    this._cut(0);
    this._thread.dispose();
    this._root.remove();
  }

  /** Say something after the first so many turns, or nothing; what came after them is dropped. */
  private _ask(keep: number, content: string | null): boolean {
    const last = this._last();
    if (content !== null && keep === this._places.length && (last?.running || this._waiting)) {
      return false;
    }
    if (last?.running) {
      last.stop();
    }
    this._cut(keep);
    if (content === null) {
      this.tell();
    } else {
      this._addQuestion(content);
      this.tell();
      this._answer();
    }
    this._thread.follow();
    this._refresh();
    return true;
  }

  /** Have the turns answered. */
  private _answer(): void {
    if (this._host.server) {
      this._addAnswer().start(this._request(this._places.length - 1));
    } else {
      this._waiting = true;
      this._host.answer?.();
    }
  }

  private _retry(): void {
    this._cut(this._places.length - 1);
    this.tell();
    this._answer();
    this._refresh();
    this._input.focus();
  }

  private _addQuestion(content: string): void {
    const index = this._places.length;
    const node = this._thread.add('You', 'jp-mod-user');
    const view = new Question(content, text => {
      const taken = this._ask(index, text);
      this._input.focus();
      return taken;
    });
    node.append(view.node);
    this._places.push({ node, view });
  }

  private _addAnswer(): TokenStreamController {
    const node = this._thread.add(this._host.request.model, 'jp-mod-answer');
    const view = new TokenStreamController(node, {
      server: this._host.server,
      attached: () => {
        this._host.attached?.();
      },
      stop: () => {
        this._host.stop?.();
      },
      retry: () => {
        this._retry();
      },
      continue: () => {
        this._host.continue?.();
      },
      changed: () => {
        this.tell();
      },
      said: () => {
        this._refresh();
      }
    });
    this._places.push({ node, view });
    return view;
  }

  /** What an answer at this place is an answer to. */
  private _request(index: number): Generate {
    return { ...this._host.request, messages: messagesOf(this._system.value, this.turns.slice(0, index)) };
  }

  private _shows(index: number, turn: Turn): boolean {
    if (index >= this._places.length) {
      return false;
    }
    const { view } = this._places[index];
    if (turn.role === 'user') {
      return view instanceof Question && view.content === turn.content;
    }
    const { stream } = turn.answer;
    return view instanceof TokenStreamController && (view.snapshot?.stream === stream || view.replaced(stream));
  }

  private _cut(keep: number): void {
    for (const { node, view } of this._places.splice(keep)) {
      view.dispose();
      node.remove();
    }
  }

  private _last(): TokenStreamController | null {
    const view = this._places.length ? this._places[this._places.length - 1].view : null;
    return view instanceof TokenStreamController ? view : null;
  }

  private _refresh(): void {
    const last = this._last();
    const answers = this._places.flatMap(({ view }) => (view instanceof TokenStreamController ? [view] : []));
    for (const answer of answers) {
      answer.setOffers(answer === last);
    }
    const tokens = answers.reduce((sum, { snapshot }) => sum + (snapshot?.figures?.tokens ?? 0), 0);
    const ended = answers.filter(({ snapshot }) => snapshot && isFinal(snapshot.state)).length;
    this._summary.textContent = ended ? `${count(ended, 'answer')} · ${count(tokens, 'token')}` : '';
    this._status.textContent = this._waiting ? 'Waiting for the kernel…' : '';
    this._status.hidden = !this._waiting;
    this._input.ready = !last?.running && !this._waiting;
    this._clear.disabled = this._places.length === 0;
  }

  private readonly _root = element('section', 'jp-Streaminfer jp-Streaminfer-frame jp-StreaminferChat');
  private readonly _summary = element('span', 'jp-StreaminferChat-summary');
  private readonly _system = new SystemPrompt(() => {
    this.tell();
  });
  private readonly _thread = new Thread();
  private readonly _status = element('div', 'jp-StreaminferChat-status');
  private readonly _clear: HTMLButtonElement;
  private readonly _input: InputBox;
  private readonly _places: IPlace[] = [];
  /** Whether the kernel was asked and has not said anything yet. */
  private _waiting = false;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

const NO_ANSWER: ISnapshot = {
  stream: null,
  epoch: null,
  request: null,
  begun: null,
  text: '',
  state: 'failed',
  figures: null,
  error: null,
  progress: null,
  resumable: false
};
