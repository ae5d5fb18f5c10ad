/** How the text is shown: as it is, as Markdown, or token by token with how likely each was. */
export type TextMode = 'plain' | 'markdown' | 'tokens';

/** The text in one of the ways to show it; it only ever grows, at a cost that does not depend on its length. */
export interface ITextBody {
  readonly node: HTMLElement;
  /** Show more of the text. */
  grow(text: string): void;
  /** Nothing follows for now: show what was held back to see what it becomes. */
  finish?(): void;
}
