import type { IMetricsListener, IMetricsSource, SourceState, Topic } from '../metrics/source';
import { element, type IView } from '../view';

/** A part of the dashboard, which stands in a grid or in a tab. */
export interface IPanel {
  id: string;
  title: string;
  create: (node: HTMLElement, source: IMetricsSource) => IView;
}

/** What all panels have: a node that says how the source stands, a line of words where there is nothing to show. */
export abstract class Panel implements IView {
  constructor(parent: HTMLElement, name: string) {
    this.node = element('div', `jp-Streaminfer jp-Streaminfer-panel jp-Streaminfer-panel-${name}`);
    this.node.dataset.state = 'connecting';
    this._words = element('p', 'jp-Streaminfer-nothing', 'Waiting for the first figures…');
    this.node.append(this._words);
    parent.append(this.node);
  }

  dispose(): void {
    this._ends.forEach(end => {
      end();
    });
    this.node.remove();
  }

  /** Listen to the source until the panel goes. */
  protected listen(source: IMetricsSource, topics: readonly Topic[], listener: IMetricsListener): void {
    const state = (state: SourceState): void => {
      this.node.dataset.state = state;
    };
    this.end(source.subscribe(topics, { ...listener, state }));
  }

  /** Call this when the panel goes. */
  protected end(action: () => void): void {
    this._ends.push(action);
  }

  /** Say why there is nothing to see; empty where there is something. */
  protected say(words: string): void {
    if (this._words.textContent !== words) {
      this._words.textContent = words;
    }
    this._words.hidden = words === '';
  }

  protected readonly node: HTMLElement;
  private readonly _words: HTMLElement;
  private readonly _ends: (() => void)[] = [];
}
