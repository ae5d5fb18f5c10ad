/** Something shown in a node that its owner gave it. Framework-free; the page is touched once an animation frame. */
export interface IView {
  /** Take it off the page, and let go of all that it listens to. */
  dispose(): void;
}

/** An element with a class, and a text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = '',
  text = ''
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = className;
  if (text) {
    node.textContent = text;
  }
  return node;
}

/** A button that a keyboard reaches, too. */
export function button(label: string, className: string, action: () => void): HTMLButtonElement {
  const node = element('button', className, label);
  node.type = 'button';
  node.addEventListener('click', action);
  return node;
}

/** A button that lies on a bar; `className`: what it has of its own. */
export function flatButton(label: string, className: string, action: () => void): HTMLButtonElement {
  return button(label, `jp-Streaminfer-button jp-mod-flat ${className}`.trimEnd(), action);
}
