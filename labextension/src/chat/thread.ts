import { element } from '../view';

/** So close to the end, in pixels, it is followed. */
const NEAR = 24;

/** The turns below each other, in a region that scrolls and follows the end while the reader is there. */
export class Thread {
  readonly node = element('div', 'jp-StreaminferChat-thread');

  constructor() {
    this.node.tabIndex = 0;
    this.node.setAttribute('role', 'group');
    this.node.setAttribute('aria-label', 'Conversation');
    this.node.append(this._list);
    this.node.addEventListener('scroll', () => {
      const { scrollHeight, scrollTop, clientHeight } = this.node;
      this._following = scrollHeight - scrollTop - clientHeight < NEAR;
    });
    this._observer.observe(this._list);
  }

  /** A place for a turn, at the end. */
  add(who: string, className: string): HTMLElement {
    const place = element('li', `jp-StreaminferChat-turn ${className}`);
    const name = element('div', 'jp-StreaminferChat-who', who);
    name.dir = 'auto';
    place.append(name);
    this._list.append(place);
    return place;
  }

  /** Follow the end again. */
  follow(): void {
    this._following = true;
    this._scroll();
  }

  dispose(): void {
    this._observer.disconnect();
  }

  private _scroll(): void {
    if (this._following) {
      this.node.scrollTop = this.node.scrollHeight;
    }
  }

  private readonly _list = element('ol', 'jp-StreaminferChat-turns');
  private readonly _observer = new ResizeObserver(() => {
    this._scroll();
  });
  private _following = true;
}
