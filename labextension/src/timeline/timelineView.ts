import { OnScreen } from '../charts/onScreen';
import { coloursOf, followTheme } from '../charts/theme';
import { drawInTurn, forget } from '../charts/turn';
import { say } from '../charts/units';
import { element, type IView } from '../view';
import { timelineBar } from './bar';
import { AXIS_HEIGHT, draw, shareOf, spotAt, type IScene, type ISpot } from './picture';
import { TimelineTable } from './table';
import { Tracks, type Track } from './track';
import { Viewport } from './viewport';
import { wordsOf } from './words';

const HIGHEST = 460;
const LOWEST_ROW = 8;
const HIGHEST_ROW = 22;
const HELP =
  'Arrow keys: up and down choose a stream, left and right its tokens; with Shift, they move in time. ' +
  'Plus and minus zoom, 0 shows all.';
/** A reader of the screen is told of the whole this often at most. */
const TELL_MS = 5_000;

/** Streams below each other over time, on a canvas, with what a mouse and a keyboard do to it. */
export class TimelineView implements IView {
  readonly tracks = new Tracks();

  constructor(parent: HTMLElement) {
    this._root = element('section', 'jp-Streaminfer jp-Streaminfer-frame jp-StreaminferTimeline');
    this._root.setAttribute('aria-label', 'Timeline');
    this._frame.tabIndex = 0;
    this._frame.setAttribute('role', 'application');
    this._frame.title = HELP;
    this._frame.dataset.lmSuppressShortcuts = 'true'; // In Lab the arrows would move to another cell.
    this._canvas.setAttribute('aria-hidden', 'true');
    this._frame.append(this._canvas, this._space);
    this._root.append(this._bar(), this._frame, this._said);
    parent.append(this._root);
    this._table = new TimelineTable(this._root, this.tracks);
    this._listen();
    this._screen = new OnScreen(this._frame, this._changed);
    this._unfollow = followTheme(this._changed);
  }

  /** The tracks have changed. */
  update(): void {
    this._viewport.grow(this.tracks.length);
    this._table.show();
    this._say(false);
    this._tell();
    this._changed();
  }

  dispose(): void {
    forget(this._draw);
    this._screen.dispose();
    this._unfollow();
    this._root.remove();
  }

  private _bar(): HTMLElement {
    return timelineBar({
      closer: () => {
        this._viewport.zoom(0.5);
        this._changed();
      },
      farther: () => {
        this._viewport.zoom(2);
        this._changed();
      },
      all: () => {
        this._viewport.fit();
        this._changed();
      }
    });
  }

  private _listen(): void {
    const frame = this._frame;
    frame.addEventListener('scroll', this._changed);
    frame.addEventListener('keydown', event => {
      this._key(event);
    });
    frame.addEventListener(
      'wheel',
      event => {
        if (event.ctrlKey || event.metaKey) {
          this._viewport.zoom(Math.exp(event.deltaY / 200), this._share(event));
        } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
          this._viewport.pan((event.deltaX || event.deltaY) / Math.max(1, frame.clientWidth));
        } else {
          return; // It scrolls the rows, or the page.
        }
        event.preventDefault();
        this._changed();
      },
      { passive: false }
    );
    frame.addEventListener('dblclick', event => {
      this._viewport.zoom(0.5, this._share(event));
      this._changed();
    });
    frame.addEventListener('pointerdown', event => {
      this._dragged = event.button === 0 ? event.clientX : null;
    });
    frame.addEventListener('pointermove', event => {
      if (this._dragged !== null && event.buttons === 1) {
        this._viewport.pan((this._dragged - event.clientX) / Math.max(1, frame.clientWidth));
        this._dragged = event.clientX;
      } else {
        this._dragged = null;
        const { left, top } = frame.getBoundingClientRect();
        this._point(spotAt(this._scene(), event.clientX - left, event.clientY - top));
      }
      this._changed();
    });
    frame.addEventListener('pointerleave', () => {
      this._dragged = null;
    });
  }

  private _key(event: KeyboardEvent): void {
    const action = this._actions(event.shiftKey)[event.key] as (() => void) | undefined;
    if (action && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      event.stopPropagation();
      action();
      this._changed();
    }
  }

  private _actions(shift: boolean): Record<string, () => void> {
    const zoom = (factor: number) => () => {
      this._viewport.zoom(factor);
    };
    const sideways = (step: number) => () => {
      if (shift) {
        this._viewport.pan(step / 8);
      } else {
        this._step(step);
      }
    };
    return {
      ArrowLeft: sideways(-1),
      ArrowRight: sideways(1),
      ArrowUp: () => {
        this._select(this._selected - 1);
      },
      ArrowDown: () => {
        this._select(this._selected + 1);
      },
      '+': zoom(0.5),
      '=': zoom(0.5),
      '-': zoom(2),
      '0': () => {
        this._viewport.fit();
      }
    };
  }

  private _select(index: number): void {
    this._selected = Math.max(0, Math.min(index, this.tracks.all.length - 1));
    const top = this._selected * this._rowHeight();
    const seen = this._frame.clientHeight - AXIS_HEIGHT - this._rowHeight();
    this._frame.scrollTop = Math.max(Math.min(this._frame.scrollTop, top), top - seen);
    this._point(null);
  }

  /** To the next token of the selected stream, or the one before. */
  private _step(by: number): void {
    const stream = Math.max(0, this._selected);
    const track = this.tracks.all[stream] as Track | undefined;
    if (track && track.count > 0) {
      const from = this._spot?.stream === stream ? this._spot.token + by : track.search(this._viewport.begin);
      const token = Math.max(0, Math.min(from, track.count - 1));
      this._viewport.reveal(this.tracks.offset(track) + track.at(token));
      this._point({ stream, token });
    }
  }

  private _point(spot: ISpot | null): void {
    this._spot = spot;
    this._selected = spot?.stream ?? this._selected;
    this._say(true);
  }

  /** Say what is pointed at, or chosen, or how many there are; `aloud`: somebody asked. */
  private _say(aloud: boolean): void {
    const words = wordsOf(this.tracks, this._selected, this._spot);
    this._said.setAttribute('aria-live', aloud ? 'polite' : 'off');
    if (this._said.textContent !== words) {
      this._said.textContent = words;
    }
  }

  /** Name the whole for a reader of the screen, at a calm pace. */
  private _tell(): void {
    const now = performance.now();
    if (now - this._told > TELL_MS) {
      this._told = now;
      const open = this.tracks.all.filter(({ row }) => row.state === 'open').length;
      const label = `Timeline of ${this.tracks.all.length} streams, ${open} open, over ${say(this.tracks.length, 'ms')}`;
      this._frame.setAttribute('aria-label', `${label}. ${HELP}`);
    }
  }

  private readonly _changed = (): void => {
    drawInTurn(this._draw);
  };

  private readonly _draw = (): void => {
    if (!this._screen.visible) {
      return;
    }
    const rows = this._rowHeight() * this.tracks.all.length;
    this._frame.style.height = `${Math.min(HIGHEST, rows + AXIS_HEIGHT + 4)}px`;
    this._space.style.height = `${rows + AXIS_HEIGHT}px`;
    const scene = this._scene();
    const scale = devicePixelRatio;
    const [width, height] = [Math.round(scene.width * scale), Math.round(scene.height * scale)];
    if (this._canvas.width !== width || this._canvas.height !== height) {
      this._canvas.width = width;
      this._canvas.height = height;
      this._canvas.style.width = `${scene.width}px`;
      this._canvas.style.height = `${scene.height}px`;
    }
    const context = this._canvas.getContext('2d');
    if (context) {
      context.setTransform(scale, 0, 0, scale, 0, 0);
      draw(context, scene);
    }
  };

  private _scene(): IScene {
    return {
      tracks: this.tracks,
      viewport: this._viewport,
      width: this._frame.clientWidth,
      height: this._frame.clientHeight,
      rowHeight: this._rowHeight(),
      scroll: this._frame.scrollTop,
      colours: coloursOf(this._root),
      selected: this._selected,
      spot: this._spot
    };
  }

  private _rowHeight(): number {
    const fair = (HIGHEST - AXIS_HEIGHT) / Math.max(1, this.tracks.all.length);
    return Math.floor(Math.max(LOWEST_ROW, Math.min(HIGHEST_ROW, fair)));
  }

  private _share(event: MouseEvent): number {
    return shareOf(this._scene(), event.clientX - this._frame.getBoundingClientRect().left);
  }

  private readonly _root: HTMLElement;
  private readonly _frame = element('div', 'jp-StreaminferTimeline-frame');
  private readonly _canvas = element('canvas', 'jp-StreaminferTimeline-canvas');
  private readonly _space = element('div');
  private readonly _said = element('div', 'jp-StreaminferTimeline-said');
  private readonly _table: TimelineTable;
  private readonly _screen: OnScreen;
  private readonly _unfollow: () => void;
  private readonly _viewport = new Viewport();
  private _selected = -1;
  private _spot: ISpot | null = null;
  private _dragged: number | null = null;
  private _told = -TELL_MS;
}
