import { element } from '../view';

/** One item of a list: a node that shows the newest of its data. */
export interface IItem<T> {
  readonly node: HTMLElement;
  show(data: T): void;
  /** What Enter does on it. */
  open?(): void;
  /** What Delete does on it. */
  remove?(): void;
}

/**
 * A list whose items stay the same nodes while their data changes, so that focus and selection stay, too.
 *
 * It is one stop for the Tab key: arrows, Home and End go from item to item, Tab on to the buttons of the one that
 * has the focus, Escape back to it.
 */
export class ItemList<T> {
  readonly node: HTMLElement;

  constructor(
    name: string,
    private readonly _key: (data: T) => string,
    private readonly _make: (data: T) => IItem<T>
  ) {
    this.node = element('ul', 'jp-StreaminferList');
    this.node.setAttribute('role', 'list');
    this.node.setAttribute('aria-label', name);
    this.node.addEventListener('keydown', event => {
      this._pressed(event);
    });
    this.node.addEventListener('focusin', event => {
      const key = this._keyOf(event.target);
      if (key !== null) {
        this._current = key;
        this._rove();
      }
    });
  }

  /** Show these, in this order. */
  show(all: readonly T[]): void {
    const focused = document.activeElement;
    const within = this.node.contains(focused);
    const at = [...this._items.keys()].indexOf(this._current);
    const keys = new Set(all.map(this._key));
    for (const [key, { node }] of this._items) {
      if (!keys.has(key)) {
        node.remove();
        this._items.delete(key);
      }
    }
    const items = new Map<string, IItem<T>>();
    let next = this.node.firstElementChild;
    for (const data of all) {
      const key = this._key(data);
      const item = this._items.get(key) ?? this._made(data, key);
      items.set(key, item);
      item.show(data);
      if (item.node === next) {
        next = next.nextElementSibling;
      } else {
        this.node.insertBefore(item.node, next);
      }
    }
    this._items = items;
    if (!items.has(this._current)) {
      this._current = [...items.keys()][Math.min(Math.max(at, 0), items.size - 1)] ?? '';
    }
    this._rove();
    if (within && document.activeElement !== focused) {
      // What had the focus was moved, or is gone: then its neighbour has it.
      (focused instanceof HTMLElement && focused.isConnected ? focused : this._items.get(this._current)?.node)?.focus();
    }
  }

  private _made(data: T, key: string): IItem<T> {
    const item = this._make(data);
    item.node.dataset.key = key;
    item.node.setAttribute('role', 'listitem');
    return item;
  }

  private _pressed(event: KeyboardEvent): void {
    const keys = [...this._items.keys()];
    const at = keys.indexOf(this._current);
    const item = this._items.get(this._current);
    const onItem = event.target === item?.node;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: keys.length - 1 }[event.key];
    const there = to === undefined ? undefined : this._items.get(keys[to] ?? '');
    if (there) {
      there.node.focus();
    } else if (event.key === 'Escape' && !onItem) {
      item?.node.focus();
    } else if (event.key === 'Enter' && onItem && item.open) {
      item.open();
    } else if (event.key === 'Delete' && onItem && item.remove) {
      item.remove();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private _rove(): void {
    for (const [key, { node }] of this._items) {
      const stop = key === this._current ? 0 : -1;
      node.tabIndex = stop;
      for (const each of node.querySelectorAll('button')) {
        each.tabIndex = stop;
      }
    }
  }

  private _keyOf(target: EventTarget | null): string | null {
    const item = target instanceof Element ? target.closest<HTMLElement>('[data-key]') : null;
    return item?.dataset.key ?? null;
  }

  private _items = new Map<string, IItem<T>>();
  /** The key of the item that the Tab key comes to. */
  private _current = '';
}
