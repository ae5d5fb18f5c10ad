import { Lexer, type MarkedToken } from 'marked';

import { element } from '../view';

/** Read at once at most: `marked` takes far longer for a text of twice the length that was made to slow it down. */
const LONGEST = 1000;
/** Marks in a piece; one with more is shown as it is, for the same reason. */
const MOST_MARKS = 100;
const MARKS = /[[*_~<`]/g;
const ADDRESS_CHARACTERS = 300;
const DEEPEST = 12;

const ENTITIES: Partial<Record<string, string>> = {
  amp: '&',
  lt: '<',
  gt: '>',
  quot: '"',
  apos: "'",
  nbsp: '\u00a0'
};

/** What is inside a line of Markdown: emphasis, code, links; everything else is text. */
export function appendInline(parent: Node, source: string): void {
  for (const piece of pieces(source)) {
    if ((piece.match(MARKS)?.length ?? 0) > MOST_MARKS) {
      appendText(parent, piece);
    } else {
      appendTokens(parent, new Lexer({ gfm: true }).inlineTokens(piece) as MarkedToken[], 0);
    }
  }
}

/** Parts of a long paragraph, which end with a line or a word where they can. */
function* pieces(source: string): Generator<string> {
  let rest = source;
  while (rest.length > LONGEST) {
    const window = rest.slice(0, LONGEST);
    const ends = ['\n', '. ', ' '].map(end => window.lastIndexOf(end) + end.length);
    const at = ends.find(end => end > LONGEST / 2) ?? LONGEST;
    yield rest.slice(0, at);
    rest = rest.slice(at);
  }
  yield rest;
}

function appendTokens(parent: Node, tokens: readonly MarkedToken[], depth: number): void {
  for (const token of tokens) {
    if (depth > DEEPEST) {
      appendText(parent, token.raw);
      continue;
    }
    switch (token.type) {
      case 'strong':
      case 'em':
      case 'del':
        wrap(parent, element(token.type), token.tokens, depth);
        break;
      case 'codespan':
        parent.appendChild(element('code', '', token.text));
        break;
      case 'br':
        parent.appendChild(element('br'));
        break;
      case 'link':
        appendLink(parent, token.href, token.tokens as MarkedToken[], depth);
        break;
      case 'image':
        parent.appendChild(element('span', 'jp-Markdown-image', `🖼 ${token.text || 'image'}: ${shorten(token.href)}`));
        break;
      case 'escape':
        appendText(parent, token.text);
        break;
      case 'text':
        appendText(parent, decode(token.raw));
        break;
      default:
        appendText(parent, token.raw);
    }
  }
}

function wrap(parent: Node, node: HTMLElement, tokens: readonly unknown[], depth: number): void {
  appendTokens(node, tokens as MarkedToken[], depth + 1);
  parent.appendChild(node);
}

/** A link that says where it leads, to the web or to a mailbox; any other is its text with the address after it. */
function appendLink(parent: Node, href: string, tokens: readonly MarkedToken[], depth: number): void {
  const address = safeAddress(href);
  if (address === null) {
    appendTokens(parent, tokens, depth + 1);
    appendText(parent, ` (${shorten(href)})`);
    return;
  }
  const link = element('a');
  link.href = address;
  link.title = shorten(address);
  link.target = '_blank';
  link.rel = 'noopener noreferrer';
  wrap(parent, link, tokens, depth);
}

/** The address if a page may lead to it. */
export function safeAddress(href: string): string | null {
  try {
    const url = new URL(href);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function shorten(address: string): string {
  return address.length > ADDRESS_CHARACTERS ? `${address.slice(0, ADDRESS_CHARACTERS)}…` : address;
}

function decode(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|apos|nbsp|#39);/g, (whole, name: string) =>
    name === '#39' ? "'" : (ENTITIES[name] ?? whole)
  );
}

function appendText(parent: Node, text: string): void {
  parent.appendChild(document.createTextNode(text));
}
