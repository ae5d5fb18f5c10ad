import type { Delta, TokenLogprobs } from '../protocol';

/** A token as it is shown: `text` is what it brought to the stream's text, which may be less than the token alone. */
export interface IToken {
  text: string;
  /** Natural logarithm; null where it is not known. */
  logprob: number | null;
  /** What else was likely at its place, the likeliest first. */
  top: readonly { text: string; logprob: number }[];
}

/** A notebook and a kernel's message hold so many tokens of a stream, and so many others for each. */
const KEPT_TOKENS = 1000;
const KEPT_TOP = 5;

/** The tokens that a notebook keeps of a stream; null where nothing is known of any. */
export function keptTokens(tokens: readonly IToken[]): IToken[] | null {
  return tokens.length
    ? tokens.slice(0, KEPT_TOKENS).map(token => ({ ...token, top: token.top.slice(0, KEPT_TOP) }))
    : null;
}

/** How sure the model was of a token, in four steps. */
export type Level = 'sure' | 'likely' | 'unsure' | 'unlikely';

export const LEVELS: readonly { level: Level; least: number; words: string }[] = [
  { level: 'sure', least: 0.9, words: '90 % or more' },
  { level: 'likely', least: 0.5, words: '50–90 %' },
  { level: 'unsure', least: 0.2, words: '20–50 %' },
  { level: 'unlikely', least: 0, words: 'under 20 %' }
];

/** The step of a log-probability. */
export function levelOf(logprob: number): Level {
  const probability = Math.exp(logprob);
  return LEVELS.find(({ least }) => probability >= least)?.level ?? 'unlikely';
}

/** `97.3 %`, or `<0.1 %`. */
export function percent(logprob: number): string {
  const value = 100 * Math.exp(logprob);
  return value < 0.1 ? '<0.1 %' : `${value.toFixed(1)} %`;
}

/**
 * The tokens of a delta, whose texts together are the delta's text.
 *
 * A token that ends inside a character, or that a merged delta spells otherwise, has what is left over.
 */
export function tokensOf({ text, logprobs }: Pick<Delta, 'text' | 'logprobs'>): IToken[] {
  if (!logprobs?.length) {
    return text ? [{ text, logprob: null, top: [] }] : [];
  }
  let rest = text;
  return logprobs.map((token: TokenLogprobs, index) => {
    const own = index === logprobs.length - 1 ? rest : rest.startsWith(token.text) ? token.text : '';
    rest = rest.slice(own.length);
    return { text: own, logprob: token.logprob, top: token.top.map(({ text, logprob }) => ({ text, logprob })) };
  });
}
