import { element } from '../view';

/** A longer answer is announced by its beginning. */
const LONGEST = 600;

/**
 * Says to screen readers what an answer came to, once it has ended: a region that spoke each token as it came could
 * not be listened to.
 */
export class Announcer {
  readonly node = element('div', 'jp-TokenStream-announcer');

  constructor() {
    this.node.setAttribute('role', 'status');
    this.node.setAttribute('aria-label', 'Answer');
  }

  /** Announce an answer; nothing takes the one before back. */
  say(text: string): void {
    const long = text.length > LONGEST;
    this.node.textContent = long ? `${text.slice(0, LONGEST)}… and more: ${text.length} characters in all.` : text;
  }
}
