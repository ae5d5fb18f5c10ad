/** Tells whether a node can be seen and how large it is, so that nothing is drawn that nobody sees. */
export class OnScreen {
  /** `changed` is called when the node comes into view or has another size, not when it goes. */
  constructor(
    private readonly _node: HTMLElement,
    changed: () => void
  ) {
    this._sizes = new ResizeObserver(() => {
      if (this.visible) {
        changed();
      }
    });
    this._sizes.observe(_node);
    this._places = new IntersectionObserver(entries => {
      this._near = entries[entries.length - 1]?.isIntersecting ?? false;
      if (this.visible) {
        changed();
      }
    });
    this._places.observe(_node);
  }

  /** Whether somebody may look at it now. */
  get visible(): boolean {
    return this._near && this.shown;
  }

  /** Whether it is on the page, perhaps where the page would have to be scrolled to. */
  get shown(): boolean {
    return this._node.clientWidth > 0;
  }

  dispose(): void {
    this._sizes.disconnect();
    this._places.disconnect();
  }

  private readonly _sizes: ResizeObserver;
  private readonly _places: IntersectionObserver;
  private _near = false;
}
