import type { MarkedToken, Tokens } from 'marked';

import { element } from '../view';
import { CodeBlock } from './codeBlock';
import { appendInline } from './inline';

const DEEPEST = 16;

/** Append a block as elements that are made here: no string of HTML is ever read by the page. */
export function appendBlock(parent: Node, block: MarkedToken, depth = 0): void {
  if (depth > DEEPEST) {
    parent.appendChild(element('p', '', block.raw));
    return;
  }
  switch (block.type) {
    case 'space':
      break;
    case 'heading':
      // Below the headings of the page around it.
      inline(parent, element(`h${Math.min(6, block.depth + 2)}` as 'h3'), block.text);
      break;
    case 'paragraph':
      inline(parent, element('p'), block.text);
      break;
    case 'text':
      inline(parent, element('span'), block.text);
      break;
    case 'def':
      inline(parent, element('p'), block.raw);
      break;
    case 'code':
      appendCode(parent, block);
      break;
    case 'blockquote':
      appendQuote(parent, block, depth);
      break;
    case 'list':
      appendList(parent, block, depth);
      break;
    case 'table':
      appendTable(parent, block);
      break;
    case 'hr':
      parent.appendChild(element('hr'));
      break;
    default:
      // HTML, above all: a model's is text like any other.
      parent.appendChild(element('p', 'jp-Markdown-raw', block.raw.replace(/\n+$/, '')));
  }
}

function inline(parent: Node, node: HTMLElement, text: string): void {
  appendInline(node, text);
  parent.appendChild(node);
}

function appendQuote(parent: Node, quote: Tokens.Blockquote, depth: number): void {
  const node = element('blockquote');
  for (const block of quote.tokens as MarkedToken[]) {
    appendBlock(node, block, depth + 1);
  }
  parent.appendChild(node);
}

function appendCode(parent: Node, { lang, text }: Tokens.Code): void {
  const code = new CodeBlock(lang ?? '');
  code.append(text);
  parent.appendChild(code.node);
}

function appendList(parent: Node, list: Tokens.List, depth: number): void {
  const node = list.ordered ? element('ol') : element('ul');
  if (node instanceof HTMLOListElement && typeof list.start === 'number') {
    node.start = list.start;
  }
  for (const item of list.items) {
    const place = element('li', item.task ? 'jp-Markdown-task' : '');
    if (item.task) {
      const box = element('span', 'jp-Markdown-box', item.checked ? '☑ ' : '☐ ');
      box.setAttribute('role', 'img');
      box.setAttribute('aria-label', item.checked ? 'done' : 'to do');
      place.append(box);
    }
    for (const block of item.tokens as MarkedToken[]) {
      if (block.type === 'text' && list.loose) {
        inline(place, element('p'), block.text);
      } else {
        appendBlock(place, block, depth + 1);
      }
    }
    node.append(place);
  }
  parent.appendChild(node);
}

function appendTable(parent: Node, table: Tokens.Table): void {
  const frame = element('div', 'jp-Markdown-table');
  frame.tabIndex = 0;
  frame.setAttribute('role', 'group');
  frame.setAttribute('aria-label', 'Table');
  const node = element('table');
  for (const cells of [table.header, ...table.rows]) {
    const row = node.insertRow();
    for (const cell of cells) {
      const place = cells === table.header ? element('th') : element('td');
      place.style.textAlign = cell.align ?? '';
      inline(row, place, cell.text);
    }
  }
  frame.append(node);
  parent.appendChild(frame);
}
