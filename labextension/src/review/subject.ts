import type { IItem, IPicture } from './desk';
import { element } from '../view';

/** Pixels; a picture below this is enlarged with sharp edges. */
const SMALL = 80;

/** The picture or the fields of a row. */
export class Subject {
  readonly node = element('div', 'jp-StreaminferReview-subject');

  /** Show a row; nothing where there is none. */
  show(item: IItem | null): void {
    if (item === this._shown) {
      return;
    }
    this._shown = item;
    this.node.textContent = '';
    if (item?.picture) {
      this.node.append(drawn(item.picture, `Image of row ${item.name}`));
    } else if (item) {
      this.node.append(item.fields.length === 1 ? prose(item.fields[0][1]) : fieldTable(item));
    }
    this.node.scrollTop = 0;
  }

  private _shown: IItem | null = null;
}

function drawn(picture: IPicture, label: string): HTMLCanvasElement {
  const { width, height, channels, pixels } = picture;
  const canvas = element('canvas', 'jp-StreaminferReview-picture');
  canvas.width = width;
  canvas.height = height;
  canvas.classList.toggle('jp-mod-small', Math.max(width, height) < SMALL);
  canvas.style.aspectRatio = `${width} / ${height}`;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', label);
  const colours = new Uint8ClampedArray(4 * width * height);
  for (let place = 0; place < width * height; place++) {
    for (let channel = 0; channel < 3; channel++) {
      colours[4 * place + channel] = pixels.getUint8(place * channels + (channels === 3 ? channel : 0));
    }
    colours[4 * place + 3] = 255;
  }
  canvas.getContext('2d')?.putImageData(new ImageData(colours, width, height), 0, 0);
  return canvas;
}

function prose(text: string): HTMLElement {
  return element('div', 'jp-StreaminferReview-prose', text);
}

function fieldTable(item: IItem): HTMLTableElement {
  const table = element('table', 'jp-StreaminferReview-fields');
  table.setAttribute('aria-label', `Row ${item.name}`);
  for (const [name, value] of item.fields) {
    const row = table.insertRow();
    const head = element('th', '', name);
    head.scope = 'row';
    row.append(head, element('td', '', value));
  }
  return table;
}
