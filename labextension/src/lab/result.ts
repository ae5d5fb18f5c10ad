import type { TranslationBundle } from '@jupyterlab/translation';

import type { Generate } from '../protocol';
import type { IServer } from '../server';
import { TokenStreamController } from '../stream/controller';
import { isFinal, type ISnapshot } from '../stream/snapshot';
import { button, element, type IView } from '../view';
import { label } from './words';

/** What a result tells. */
export interface IResultEvents {
  /** It stands otherwise than before. */
  changed(): void;
  /** Go on after this answer, as a chat; absent where the model has none. */
  goOn?(answer: string): void;
}

/** One model's answer in the playground. */
export class Result implements IView {
  readonly node = element('section', 'jp-StreaminferResult');

  constructor(model: string, server: IServer, events: IResultEvents, trans: TranslationBundle) {
    const head = element('div', 'jp-StreaminferResult-head');
    const name = element('h3', 'jp-StreaminferResult-model', label(model));
    name.title = model;
    this.node.setAttribute('aria-label', trans.__('Answer of %1', label(model)));
    const goOn = button(trans.__('Go on as a chat'), 'jp-Streaminfer-button', () => {
      events.goOn?.(this.snapshot?.text ?? '');
    });
    goOn.hidden = true;
    head.append(name, goOn);
    this.node.append(head);
    this._controller = new TokenStreamController(this.node, { server, changed: () => undefined });
    // Its node says how it stands, whatever brought it there.
    this._observer = new MutationObserver(() => {
      goOn.hidden = !events.goOn || this.snapshot?.state !== 'completed';
      events.changed();
    });
    this._observer.observe(this.node, { attributes: true, attributeFilter: ['data-state'], subtree: true });
  }

  /** Ask; what comes is shown. */
  start(request: Generate): void {
    this._controller.start(request);
  }

  /** Show what was asked before, from the server if it has it still. */
  restore(snapshot: ISnapshot): void {
    this._controller.show(snapshot);
  }

  /** End the stream, if one is under way. */
  stop(): void {
    this._controller.stop();
  }

  /** What is shown; null before there is anything. */
  get snapshot(): ISnapshot | null {
    return this._controller.snapshot;
  }

  /** Whether a stream is under way. */
  get running(): boolean {
    return this.snapshot !== null && !isFinal(this.snapshot.state);
  }

  dispose(): void {
    this._observer.disconnect();
    this._controller.dispose();
    this.node.remove();
  }

  private readonly _controller: TokenStreamController;
  private readonly _observer: MutationObserver;
}
