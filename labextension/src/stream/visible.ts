import { element } from '../view';

const CONTROLS = /(?:\r(?!\n)|[^\P{Cc}\r\n\t])+/gu;
const INSEPARABLE = /[\udc00-\udfff\u200d]|\p{M}/u;
/** So many marks on one character are kept together, and no more. */
const MARKS = 32;

/**
 * The text with each control character spelled out (`\x1b[31m`).
 *
 * Escape sequences of terminals are neither obeyed nor dropped: what a model hides in its output is seen.
 */
export function visible(text: string): string {
  return text.replace(CONTROLS, spelled);
}

/**
 * Append the same, so that what the page holds is the text itself: the style sheet spells the control characters.
 *
 * Returns how many elements that took, at most `most`; beyond that they are spelled in the text.
 */
export function appendVisible(parent: HTMLElement, text: string, most: number): number {
  let [at, used] = [0, 0];
  for (const { 0: controls, index } of text.matchAll(CONTROLS)) {
    if (used === most) {
      break;
    }
    const node = element('span', 'jp-TokenStream-control', controls);
    node.dataset.spelled = spelled(controls);
    parent.append(text.slice(at, index), node);
    at = index + controls.length;
    used += 1;
  }
  parent.append(visible(text.slice(at)));
  return used;
}

function spelled(controls: string): string {
  return Array.from(controls, control => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`).join('');
}

/** The place at or before `at` where the text may be cut without tearing a character apart. */
export function cutAt(text: string, at: number): number {
  if (at >= text.length) {
    return text.length;
  }
  for (let place = at; place > Math.max(0, at - MARKS); place--) {
    if (!INSEPARABLE.test(text.charAt(place)) && text.charAt(place - 1) !== '\u200d') {
      return place;
    }
  }
  return at;
}
