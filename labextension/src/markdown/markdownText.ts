import type { MarkedToken } from 'marked';

import type { ITextBody } from '../stream/textBody';
import { visible } from '../stream/visible';
import { element } from '../view';
import { closes, LONGEST, mayClose, openingFence, part, readBlocks, settledBlocks, type IFence } from './blocks';
import { CodeBlock } from './codeBlock';
import { appendBlock } from './render';

/**
 * A Markdown text as it grows.
 *
 * Blocks that nothing can change any more are drawn once and left alone; only the last one is read and drawn again,
 * and it is kept short, so that a delta costs as much late in a long text as early.
 */
export class MarkdownText implements ITextBody {
  readonly node = element('div', 'jp-Markdown');

  constructor() {
    this.node.append(this._tail);
  }

  grow(text: string): void {
    const more = visible(text.replace(/\r\n/g, '\n'));
    for (let at = 0; at < more.length; at += LONGEST) {
      this._take(more.slice(at, at + LONGEST));
    }
    this._tail.replaceChildren();
    for (const block of this._blocks) {
      appendBlock(this._tail, block);
    }
  }

  finish(): void {
    if (this._code && this._line) {
      if (closes(this._line, this._code.fence)) {
        this._code = null;
      } else {
        this._write(this._code, this._line);
        this._starts = false;
      }
      this._line = '';
    }
  }

  private _take(text: string): void {
    this._open += this._code ? this._feed(this._code, text) : text;
    while (this._open && this._settle()) {
      // The rest may be a fence of its own, or still too long.
    }
  }

  /** Draw what stays as it is, and keep the rest; returns whether there is more to do. */
  private _settle(): boolean {
    const blocks = readBlocks(this._open);
    const settled = settledBlocks(blocks, this._open);
    for (const block of blocks.splice(0, settled)) {
      this._keep(block);
      this._open = this._open.slice(block.raw.length);
    }
    this._blocks = blocks;
    if (!blocks.length) {
      return false;
    }
    const first = blocks[0];
    const opening = first.type === 'code' ? openingFence(this._open) : null;
    if (opening) {
      const code = Object.assign(new CodeBlock(opening.fence.language), { fence: opening.fence });
      this._tail.before(code.node);
      const rest = this._open.slice(opening.length);
      [this._code, this._starts, this._owed, this._blocks] = [code, true, false, []];
      this._open = this._feed(code, rest);
      return true;
    }
    if (this._open.length <= LONGEST) {
      return false;
    }
    const { at, prefix } = part(first, this._open);
    for (const block of readBlocks(this._open.slice(0, at))) {
      this._keep(block);
    }
    this._open = prefix + this._open.slice(at);
    this._blocks = [];
    return true;
  }

  private _keep(block: MarkedToken): void {
    const place = document.createDocumentFragment();
    appendBlock(place, block);
    this._tail.before(place);
  }

  /** More of the code that a fence opened; returns what follows the fence that closes it. */
  private _feed(code: CodeBlock & { fence: IFence }, text: string): string {
    const lines = (this._line + text).split('\n');
    this._line = '';
    for (const [index, line] of lines.entries()) {
      const last = index === lines.length - 1;
      if (this._starts && !last && closes(line, code.fence)) {
        this._code = null;
        return lines.slice(index + 1).join('\n');
      }
      if (this._starts && last && mayClose(line, code.fence)) {
        this._line = line;
      } else {
        this._write(code, line);
        this._starts = this._owed = !last;
      }
    }
    return '';
  }

  /** A part of a line; the end of the line before is the code's only if there is a line after it. */
  private _write(code: CodeBlock, part: string): void {
    code.append(this._owed ? `\n${part}` : part);
    this._owed = false;
  }

  /** What is drawn again: the blocks that are not settled. */
  private readonly _tail = element('div', 'jp-Markdown-tail');
  private _open = '';
  private _blocks: MarkedToken[] = [];
  /** The code that is open, and the unfinished line that may close it. */
  private _code: (CodeBlock & { fence: IFence }) | null = null;
  private _line = '';
  /** Whether what comes starts a line, and whether the end of the line before is not written yet. */
  private _starts = true;
  private _owed = false;
}
