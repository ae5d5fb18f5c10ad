import { say } from '../charts/units';
import type { IColours } from '../charts/theme';
import type { Track, Tracks } from './track';
import type { Viewport } from './viewport';

export const AXIS_HEIGHT = 22;
const LEFT = 132;
const RIGHT = 10;
/** Rows that are lower have no name. */
const NAMED = 12;
const FONT = '11px system-ui, sans-serif';

/** A token: its stream's and its own index. */
export interface ISpot {
  stream: number;
  token: number;
}

/** What a picture is of. */
export interface IScene {
  tracks: Tracks;
  viewport: Viewport;
  width: number;
  height: number;
  rowHeight: number;
  /** How far the rows are scrolled, in pixels. */
  scroll: number;
  colours: IColours;
  selected: number;
  spot: ISpot | null;
}

/** Draws the rows that are seen, each with no more marks than it has pixels. */
export function draw(context: CanvasRenderingContext2D, scene: IScene): void {
  const { width, height, rowHeight, scroll, tracks } = scene;
  context.clearRect(0, 0, width, height);
  context.font = FONT;
  context.textBaseline = 'middle';
  drawAxis(context, scene);
  context.save();
  context.beginPath();
  context.rect(0, AXIS_HEIGHT, width, height - AXIS_HEIGHT);
  context.clip();
  const first = Math.max(0, Math.floor(scroll / rowHeight));
  const last = Math.min(tracks.all.length, Math.ceil((scroll + height - AXIS_HEIGHT) / rowHeight));
  tracks.all.slice(first, last).forEach((track, index) => {
    drawRow(context, scene, track, first + index);
  });
  context.restore();
}

/** Where a time is, in pixels. */
export function xOf({ viewport, width }: IScene, ms: number): number {
  return LEFT + ((ms - viewport.begin) / viewport.length) * (width - LEFT - RIGHT);
}

/** Which part of the plot's width a pixel is at. */
export function shareOf({ width }: IScene, x: number): number {
  return (x - LEFT) / (width - LEFT - RIGHT);
}

/** The token under a point, if one is near enough. */
export function spotAt(scene: IScene, x: number, y: number): ISpot | null {
  const stream = Math.floor((y - AXIS_HEIGHT + scene.scroll) / scene.rowHeight);
  const track = scene.tracks.all[stream] as Track | undefined;
  if (!track || y < AXIS_HEIGHT || x < LEFT) {
    return null;
  }
  const offset = scene.tracks.offset(track);
  const token = track.nearest(scene.viewport.begin + shareOf(scene, x) * scene.viewport.length - offset);
  const near = token >= 0 && Math.abs(xOf(scene, offset + track.at(token)) - x) < 8;
  return near ? { stream, token } : null;
}

function drawAxis(context: CanvasRenderingContext2D, scene: IScene): void {
  const { viewport, width, height, colours } = scene;
  const step = niceStep((viewport.length * 80) / Math.max(1, width - LEFT - RIGHT));
  context.textAlign = 'center';
  for (let ms = Math.ceil(viewport.begin / step) * step; ms <= viewport.begin + viewport.length; ms += step) {
    const x = Math.round(xOf(scene, ms)) + 0.5;
    context.fillStyle = colours.grid;
    context.fillRect(x - 0.5, AXIS_HEIGHT, 1, height);
    context.fillStyle = colours.muted;
    if (x < width - 24) {
      context.fillText(say(ms, 'ms'), x, AXIS_HEIGHT / 2);
    }
  }
}

/** 1, 2 or 5 times a power of ten. */
function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find(factor => factor * power >= least) ?? 10);
}

function drawRow(context: CanvasRenderingContext2D, scene: IScene, track: Track, index: number): void {
  const { rowHeight, scroll, colours, tracks, width } = scene;
  const top = AXIS_HEIGHT + index * rowHeight - scroll;
  const gap = rowHeight > 8 ? 3 : 1;
  const [y, size] = [top + gap, rowHeight - 2 * gap];
  const offset = tracks.offset(track);
  const { queue_ms: queue, ttft_ms: ttft } = track.row;
  if (index === scene.selected) {
    context.fillStyle = colours.grid;
    context.fillRect(0, top, width, rowHeight);
  }
  context.save();
  context.beginPath();
  context.rect(LEFT, top, width - LEFT - RIGHT, rowHeight);
  context.clip();
  const bar = (from: number, to: number, colour: string, opacity: number): void => {
    context.globalAlpha = opacity;
    context.fillStyle = colour;
    context.fillRect(
      xOf(scene, offset + from),
      y,
      Math.max(1, xOf(scene, offset + to) - xOf(scene, offset + from)),
      size
    );
    context.globalAlpha = 1;
  };
  const end = track.end;
  bar(0, queue ?? ttft ?? end, colours.muted, 0.45);
  if (queue !== null) {
    bar(queue, ttft ?? end, colours.series[1], 0.8);
  }
  if (ttft !== null) {
    bar(ttft, end, colours.series[0], 0.18);
    drawTokens(context, scene, track, offset, y, size);
  }
  if (track.row.state === 'failed' || track.row.state === 'lost') {
    bar(end, end, colours.ink, 1);
  }
  if (scene.spot?.stream === index) {
    context.fillStyle = colours.ink;
    context.fillRect(Math.round(xOf(scene, offset + track.at(scene.spot.token))) - 1, top, 3, rowHeight);
  }
  context.restore();
  if (rowHeight >= NAMED) {
    context.textAlign = 'left';
    context.fillStyle = colours.ink;
    context.fillText(fitting(context, nameOf(track, index), LEFT - 12), 4, top + rowHeight / 2 + 0.5);
  }
}

/** A mark for each token, one for all that share a pixel, and one bar for marks that touch. */
function drawTokens(
  context: CanvasRenderingContext2D,
  scene: IScene,
  track: Track,
  offset: number,
  y: number,
  size: number
): void {
  const { viewport, colours, width } = scene;
  const perPixel = viewport.length / (width - LEFT - RIGHT);
  const last = viewport.begin + viewport.length - offset;
  context.fillStyle = colours.series[0];
  let [begin, end] = [-2, -2];
  let token = track.search(viewport.begin - offset);
  while (token < track.count && track.at(token) <= last) {
    const x = Math.round(xOf(scene, offset + track.at(token)));
    if (x > end) {
      context.fillRect(begin, y, end - begin, size);
      begin = x;
    }
    end = x + 1;
    const next = viewport.begin + (x + 0.5 - LEFT) * perPixel - offset;
    token = track.at(token + 1) < next ? track.search(next, token + 1) : token + 1;
  }
  context.fillRect(begin, y, end - begin, size);
}

/** Its number and model. */
export function nameOf({ row }: Track, index: number): string {
  return `${index + 1} ${row.model || row.id}`;
}

const fitted = new Map<string, string>();

function fitting(context: CanvasRenderingContext2D, text: string, width: number): string {
  const known = fitted.get(text);
  if (known !== undefined) {
    return known;
  }
  let shown = text;
  while (shown.length > 1 && context.measureText(shown).width > width) {
    shown = `${shown.slice(0, -2)}…`;
  }
  if (fitted.size > 1000) {
    fitted.clear();
  }
  fitted.set(text, shown);
  return shown;
}
