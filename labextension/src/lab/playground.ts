import { Clipboard, Notification } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { newId } from '../server';
import { button, element } from '../view';
import { codeOf, type Question } from './code';
import type { IContext } from './context';
import { History, type IRun } from './history';
import { labServer } from './labServer';
import { ModelPicker } from './modelPicker';
import { Parameters } from './parameters';
import { QuestionForm } from './question';
import { Result } from './result';
import { SourceMessage } from './sourceMessage';

/** Ask one or several models something and watch them answer, side by side. */
export class Playground extends Widget {
  /** `insert`: puts code into a cell of a notebook, and says whether there was one that took it. */
  constructor(
    private readonly _context: IContext,
    private readonly _insert: (code: string) => Promise<boolean>
  ) {
    super();
    const { trans } = _context;
    this.addClass('jp-Streaminfer');
    this.addClass('jp-StreaminferPlayground');
    this._question = new QuestionForm(trans);
    this._models = new ModelPicker(trans);
    this._parameters = new Parameters(trans);
    this._message = new SourceMessage(_context);
    this._history = new History(run => {
      this._recall(run);
    }, trans);
    this._stop = button(trans.__('Stop'), 'jp-Streaminfer-button', () => {
      this._stopAll();
    });
    const buttons = element('div', 'jp-StreaminferPlayground-buttons');
    buttons.append(
      button(trans.__('Run'), 'jp-Streaminfer-button jp-mod-accept', () => {
        this._run();
      }),
      this._stop,
      button(trans.__('Copy as code cell'), 'jp-Streaminfer-button', () => {
        void this._copy();
      })
    );
    const hint = element('div', 'jp-StreaminferField-hint', trans.__('Shift+Enter or Ctrl+Enter runs, Escape stops.'));
    const form = element('form', 'jp-StreaminferPlayground-form');
    form.setAttribute('aria-label', trans.__('What to ask, and of which models'));
    form.addEventListener('submit', event => {
      event.preventDefault();
    });
    form.append(
      this._message.node,
      this._question.node,
      this._models.node,
      this._parameters.node,
      buttons,
      hint,
      this._history.node
    );
    this._results.setAttribute('aria-label', trans.__('Answers'));
    this._results.append(element('p', 'jp-StreaminferPlayground-nothing', trans.__('Answers come here.')));
    this.node.append(form, this._results);
    this.node.addEventListener('keydown', event => {
      this._pressed(event);
    });
    this._settle();
    this._end = _context.live.subscribe(['models'], {
      models: models => {
        this._models.show(models);
      },
      state: (state, error) => {
        this._message.show(state, error);
      }
    });
  }

  /** Choose a model. */
  choose(model: string): void {
    this._models.choose([model]);
  }

  override dispose(): void {
    this._end();
    this._clear();
    super.dispose();
  }

  protected override onActivateRequest(): void {
    this._question.focus();
  }

  /** What the form says; null where something is wrong with it, which it says. */
  private _read(): { models: string[]; question: Question } | null {
    const asked = this._question.read();
    const models = asked && this._models.read();
    const parameters = models && this._parameters.read();
    return asked && models && parameters ? { models, question: { ...asked, ...parameters } } : null;
  }

  private _run(): void {
    const read = this._read();
    if (!read) {
      return;
    }
    const run: IRun = { at: new Date(), ...read, answers: read.models.map(() => null) };
    this._show(run);
    this._running.forEach((result, index) => {
      result.start({ type: 'generate', id: newId(), model: run.models[index] ?? '', ...run.question });
    });
    this._history.add(run);
  }

  /** Show the places of a run's answers. */
  private _show(run: IRun): void {
    this._clear();
    this._running = run.models.map(
      (model, index) =>
        new Result(
          model,
          labServer(),
          {
            changed: () => {
              run.answers[index] = this._running[index]?.snapshot ?? null;
              this._settle();
            },
            ...(this._models.chats(model) && {
              goOn: (answer: string) => {
                this._question.goOn(run.question, answer);
              }
            })
          },
          this._context.trans
        )
    );
    this._results.replaceChildren(...this._running.map(({ node }) => node));
  }

  private _recall(run: IRun): void {
    this._question.write(run.question);
    this._parameters.write(run.question);
    this._models.choose(run.models);
    this._show(run);
    this._running.forEach((result, index) => {
      const answer = run.answers[index];
      if (answer) {
        result.restore(answer);
      }
    });
    this._history.choose(run);
  }

  private _stopAll(): void {
    this._running.forEach(each => {
      each.stop();
    });
  }

  private async _copy(): Promise<void> {
    const read = this._read();
    if (!read) {
      return;
    }
    const { trans } = this._context;
    const code = codeOf(read.models, read.question);
    if (await this._insert(code)) {
      Notification.info(trans.__('Copied into a new cell of the notebook.'), { autoClose: 3000 });
    } else {
      Clipboard.copyToSystem(code);
      Notification.info(trans.__('Copied to the clipboard: there is no notebook that takes a cell.'), {
        autoClose: 3000
      });
    }
  }

  private _pressed(event: KeyboardEvent): void {
    if (event.key === 'Enter' && (event.shiftKey || event.ctrlKey || event.metaKey)) {
      this._run();
    } else if (event.key === 'Escape' && !this._stop.disabled) {
      this._stopAll();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private _settle(): void {
    this._stop.disabled = this._running.every(({ running }) => !running);
  }

  private _clear(): void {
    this._running.forEach(each => {
      each.dispose();
    });
    this._running = [];
    this._settle();
  }

  private readonly _question: QuestionForm;
  private readonly _models: ModelPicker;
  private readonly _parameters: Parameters;
  private readonly _message: SourceMessage;
  private readonly _history: History;
  private readonly _stop: HTMLButtonElement;
  private readonly _results = element('section', 'jp-StreaminferPlayground-results');
  private readonly _end: () => void;
  private _running: Result[] = [];
}
