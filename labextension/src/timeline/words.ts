import { say } from '../charts/units';
import { nameOf, type ISpot } from './picture';
import type { Track, Tracks } from './track';

/** What is said of the token that is pointed at, else of the stream that is chosen, else of all of them. */
export function wordsOf({ all }: Tracks, selected: number, spot: ISpot | null): string {
  const index = spot?.stream ?? selected;
  const track = all[index] as Track | undefined;
  if (!track) {
    const tokens = all.reduce((sum, { row }) => sum + row.tokens, 0);
    return all.length === 0 ? 'No streams.' : `${say(all.length, 'count')} streams, ${say(tokens, 'count')} tokens`;
  }
  const { row } = track;
  const name = nameOf(track, index);
  if (!spot) {
    const phases = `queue ${say(row.queue_ms, 'ms')}, TTFT ${say(row.ttft_ms, 'ms')}`;
    return `${name}: ${row.state}, ${phases}, ${say(row.tokens, 'count')} tokens, all ${say(row.duration_ms, 'ms')}`;
  }
  const at = track.at(spot.token);
  const after = spot.token > 0 ? `, ${say(at - track.at(spot.token - 1), 'ms')} after the one before` : '';
  const text = JSON.stringify(track.text(spot.token));
  return `${name}: token ${spot.token + 1} of ${row.tokens}, ${text}, at ${at.toFixed(1)} ms${after}`;
}
