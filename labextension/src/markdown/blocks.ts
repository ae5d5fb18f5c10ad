import { Lexer, type MarkedToken } from 'marked';

/** A block that is longer is settled in parts, so that what is read again with each delta is bounded. */
export const LONGEST = 8192;
/** Quotes and lists inside one another, deeper than this: their text is shown as it is. */
const DEEP = /^[ \t]*(?:(?:>|[-+*][ \t]|\d{1,9}[.)][ \t])[ \t]*){17}/m;
/** An unfinished line of nothing but marks: what it begins is still open. */
const MARKS = /^[-*+_=>#`~|:\d.) \t]{0,16}$/;
const FENCE = /^[ \t>]*(`{3,}|~{3,})([^\n]*)$/;

export interface IFence {
  /** The marks that open it; a line of them alone closes it. */
  mark: string;
  language: string;
}

/** The blocks of a Markdown text as `marked` has them; what is inside a line is not looked at. */
export function readBlocks(source: string): MarkedToken[] {
  if (DEEP.test(source)) {
    return [{ type: 'html', raw: source, text: source, block: true, pre: false }];
  }
  const lexer = new Lexer({ gfm: true });
  return lexer.blockTokens(source, lexer.tokens) as MarkedToken[];
}

/** How many of the blocks at the start stay as they are, whatever follows: all but the last, as a rule. */
export function settledBlocks(blocks: readonly MarkedToken[], source: string): number {
  const solid = blocks.flatMap((block, index) => (block.type === 'space' ? [] : [index]));
  const open = MARKS.test(source.slice(source.lastIndexOf('\n') + 1)) ? 2 : 1;
  return solid[Math.max(0, solid.length - open)] ?? 0;
}

/** The fence that the source begins with, and the characters of its line, if that line is whole. */
export function openingFence(source: string): { fence: IFence; length: number } | null {
  const end = source.indexOf('\n');
  const found = end < 0 ? null : /^ {0,3}(`{3,}|~{3,})([^\n]*)$/.exec(source.slice(0, end));
  if (!found || (found[1].startsWith('`') && found[2].includes('`'))) {
    return null;
  }
  return { fence: { mark: found[1], language: found[2].trim() }, length: end + 1 };
}

/** Whether the line ends what the fence opened. */
export function closes(line: string, { mark }: IFence): boolean {
  const found = /^[ \t]*(`{3,}|~{3,})[ \t]*$/.exec(line);
  return found?.[1].startsWith(mark) === true;
}

/** Whether the unfinished line may yet become one that ends it. */
export function mayClose(line: string, { mark }: IFence): boolean {
  return /^[ \t]*[`~]*[ \t]*$/.test(line) && (line.trim() === '' || line.trim().startsWith(mark.charAt(0)));
}

/** Where to part an open block that has grown too long, and what its second part is to begin with. */
export function part(block: MarkedToken, source: string): { at: number; prefix: string } {
  if (block.type === 'list' && block.items.length > 1) {
    const last = block.items[block.items.length - 1]?.raw ?? '';
    return { at: block.items.reduce((sum, item) => sum + item.raw.length, 0) - last.length, prefix: '' };
  }
  const at = source.lastIndexOf('\n') + 1 || source.length;
  const prefix = block.type === 'table' ? source.split('\n', 2).join('\n') : unclosedFence(source.slice(0, at));
  return { at, prefix: prefix && prefix.length < LONGEST / 8 ? `${prefix}\n` : '' };
}

/** The fence that a part of a list or a quote leaves open: what follows is code, too. */
function unclosedFence(source: string): string {
  let open: IFence | null = null;
  for (const line of source.split('\n')) {
    if (open) {
      open = closes(line.replace(/^[ \t>]+/, ''), open) ? null : open;
    } else {
      const found = FENCE.exec(line.replace(/^[ \t]*(?:[-+*]|\d{1,9}[.)])[ \t]/, ''));
      open = found ? { mark: found[1], language: found[2].trim() } : null;
    }
  }
  return open ? open.mark + open.language : '';
}
