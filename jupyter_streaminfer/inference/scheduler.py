"""What each step computes: continuous batching by one rule, after vLLM.

There are no phases. Each sequence's computed tokens catch up with its tokens, within the step's token budget: running
first, then waiting ones, both by priority, then by their clients' turns (`fairness.py`), then by arrival. Decoding is
a sequence that lags by one token; chunked prefill is one that lags by more than the budget leaves.

Blocks of the cache are taken as positions are computed. When none is left, the last in order of those that run gives
its blocks back and waits again at its own place, to be computed anew, though mostly found in the prefix cache. So the
first in order is never held up, and as each sequence fits into the cache alone, all of them come to their end.

A step may be scheduled before the tokens that the last one draws are known: they count as tokens all the same.

A paused sequence has given its place and its blocks back in the same way, and waits for nothing until it is resumed.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field

from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS, Blocks
from jupyter_streaminfer.inference.fairness import Fairness, under_way
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.protocol import StreaminferError


@dataclass(slots=True)
class Chunk:
    """``count`` tokens of a sequence, from its ``computed`` on, to compute in this step."""

    sequence: Sequence
    count: int
    start: int = field(init=False)
    blocks: list[int] = field(init=False)
    """The sequence's, for as long as it has these."""

    def __post_init__(self) -> None:
        self.start, self.blocks = self.sequence.computed, self.sequence.blocks

    @property
    def completes(self) -> bool:
        """Whether nothing is pending after it, so that its last position gives the next token."""
        return self.count == self.sequence.pending

    @property
    def outputs(self) -> int:
        """How many hidden states are wanted, of its last tokens."""
        sequence = self.sequence
        if sequence.reads_from is None:
            return int(sequence.computed + self.count == sequence.length)
        return min(self.count, max(0, sequence.computed + self.count - sequence.reads_from))


class Scheduler:
    """Sequences that wait, that run and that are paused; a sequence holds blocks exactly while it runs.

    Each sequence's tokens, the last of its ``max_tokens`` included, must fit into ``blocks`` alone: whoever submits it
    checks that.
    """

    def __init__(self, blocks: Blocks, *, max_batch_size: int, step_tokens: int, max_queue: int) -> None:
        self.blocks = blocks
        self.max_batch_size = max_batch_size
        # A smaller budget would let a full batch decode in turns only.
        self.step_tokens = max(step_tokens, max_batch_size)
        self.max_queue = max_queue
        self.waiting: list[Sequence] = []
        """By priority, start tag and arrival."""
        self.running: list[Sequence] = []
        """In the same order."""
        self.paused: dict[str, Sequence] = {}
        self.preemptions = 0
        """How often a running sequence had to give its blocks back."""
        self._arrivals = 0
        self._ranks: dict[str, tuple[int, int, int]] = {}
        """What both lists are sorted by."""
        self._fairness: defaultdict[int, Fairness] = defaultdict(Fairness)
        """Of each first part of a rank: among sequences of one priority clients are served in turn."""

    def __len__(self) -> int:
        """Sequences that there is something to do for: paused ones are not among them."""
        return len(self.waiting) + len(self.running)

    @property
    def capacity(self) -> int:
        """How many sequences there may be at once, but for paused ones."""
        return self.max_queue + self.max_batch_size

    def submit(self, *sequences: Sequence) -> None:
        """Queue sequences, all or none; `StreaminferError` ``overloaded`` where that would exceed the capacity.

        Paused sequences do not count: a reader that lags would take the others' room. So whoever lets generations be
        paused bounds their number, as the engine does by its streams; when they are resumed, new ones have to wait.
        """
        if taken := [sequence.job for sequence in sequences if sequence.job in self._ranks]:
            raise under_way(taken[0])
        if len(self) + len(sequences) > self.capacity:
            raise StreaminferError(
                "overloaded",
                f"{len(self.waiting)} generations are waiting for a place already; try again later",
                retryable=True,
            )
        for sequence in sequences:
            fairness = self._fairness[-sequence.priority]
            tag = fairness.enter(sequence.job, sequence.client, sequence.cost)
            self._ranks[sequence.job] = (-sequence.priority, tag, self._arrivals)
            self._arrivals += 1
            insort(self.waiting, sequence, key=self._rank)

    def pause(self, job: str) -> None:
        """Give a sequence's place and blocks to others until it is resumed; unknown ids are ignored."""
        if (sequence := self._pop(self.running, job) or self._pop(self.waiting, job)) is not None:
            self._release(sequence)
            self.paused[job] = sequence

    def resume(self, job: str) -> None:
        """Let a paused sequence wait for a place, in the turn that it had; all others are left as they are."""
        if (sequence := self.paused.pop(job, None)) is not None:
            insort(self.waiting, sequence, key=self._rank)

    def schedule(self, prefill_tokens: int | None = None) -> list[Chunk]:
        """The chunks of the next step, which has at most ``step_tokens`` tokens; empty when there is nothing to do.

        Every running sequence gets one token, and all together get ``prefill_tokens`` more at most (None: what the step
        has room for). Sequences are admitted with what is left of these, so 0 admits one only if nothing runs.
        """
        budget = self.step_tokens - len(self.running)
        if prefill_tokens is not None:
            budget = min(budget, prefill_tokens)
        preemptions = self.preemptions
        chunks: list[Chunk] = []
        # Only the list's last is ever preempted, so none that leaves during this loop has a chunk already.
        for sequence in self.running:
            count = min(sequence.pending, 1 + budget)
            if sequence.computed + count > len(sequence.blocks) * BLOCK_TOKENS:
                count = self._grow(sequence, count)
            if count:
                chunks.append(Chunk(sequence, count))
                budget -= count - 1
        if not chunks:
            budget = max(budget, 1)
        if budget > 0 and self.waiting and len(self.running) < self.max_batch_size and preemptions == self.preemptions:
            self._admit(chunks, budget)
        return chunks

    def advance(self, chunk: Chunk) -> None:
        """Count a chunk as computed, from when on the device is told to compute it; not if its sequence left."""
        if chunk.blocks is chunk.sequence.blocks:
            chunk.sequence.computed += chunk.count

    def settle(self, chunk: Chunk) -> None:
        """Let others find the blocks that a chunk has filled, once that is computed; not if its sequence left."""
        first, last = chunk.start // BLOCK_TOKENS, (chunk.start + chunk.count) // BLOCK_TOKENS
        if last > first and chunk.blocks is chunk.sequence.blocks:
            self.blocks.register(chunk.blocks, chunk.sequence.token_ids, first, last)

    def remove(self, job: str, *, discard: bool = False) -> list[int]:
        """Forget a sequence, whether it waits, runs or is paused; unknown ids are ignored.

        With ``discard`` nobody will find what it computed or read, as it may be broken. Returns the blocks that became
        free by that, for the model to clear; empty otherwise.
        """
        rank = self._ranks.get(job)
        if rank is None:
            return []
        freed: list[int] = []
        if (sequence := self._pop(self.running, job)) is not None:
            if discard:
                freed = self.blocks.discard(sequence.blocks)
            else:
                self.blocks.give_back(sequence.blocks)
            sequence.blocks = []
        elif (sequence := self._pop(self.waiting, job)) is None:
            sequence = self.paused.pop(job)
        sequence.left = True
        del self._ranks[job]
        self._fairness[rank[0]].leave(job)
        return freed

    def check_idle(self) -> None:
        """Raise `RuntimeError` when a sequence or a trace of one is left."""
        left = {
            "waiting": len(self.waiting),
            "running": len(self.running),
            "paused": len(self.paused),
            "ranks": len(self._ranks),
            "tags": sum(map(len, self._fairness.values())),
        }
        if any(left.values()):
            raise RuntimeError(f"not idle: {left}")
        self.blocks.check_idle()

    def _rank(self, sequence: Sequence) -> tuple[int, int, int]:
        return self._ranks[sequence.job]

    def _pop(self, sequences: list[Sequence], job: str) -> Sequence | None:
        """Take a job's sequence out of ``sequences``; None where it is not among them."""
        if (rank := self._ranks.get(job)) is None:
            return None
        index = bisect_left(sequences, rank, key=self._rank)
        return sequences.pop(index) if index < len(sequences) and sequences[index].job == job else None

    def _release(self, sequence: Sequence) -> None:
        """Give a sequence's blocks back; what they hold can be found for as long as nobody needs the room."""
        self.blocks.give_back(sequence.blocks)
        sequence.blocks = []
        if sequence.reads_from is not None:  # what was read is not to be read again
            sequence.reads_from = max(sequence.reads_from, sequence.computed)
        sequence.computed = 0

    def _grow(self, sequence: Sequence, count: int) -> int:
        """Take the blocks of a running sequence's next ``count`` tokens: how many of these have their place now.

        Fewer where blocks are short. For one token others are preempted, the last in order first; 0 when it was the
        sequence itself.
        """
        missing = _blocks_of(sequence.computed + count) - len(sequence.blocks)
        sequence.blocks += self.blocks.take(min(missing, self.blocks.available)) or ()
        while sequence.computed == len(sequence.blocks) * BLOCK_TOKENS:
            last = self.running.pop()
            self._release(last)
            insort(self.waiting, last, key=self._rank)
            self.preemptions += 1
            if last is sequence:
                return 0
            sequence.blocks += self.blocks.take(1) or ()
        return min(count, len(sequence.blocks) * BLOCK_TOKENS - sequence.computed)

    def _admit(self, chunks: list[Chunk], budget: int) -> None:
        """Let waiting sequences run and add their first chunks, while places, blocks and ``budget`` tokens last.

        One that waits for another's prefix keeps its place free meanwhile, so that later arrivals cannot hold it off.
        """
        for sequence in self.waiting[: self.max_batch_size - len(self.running)]:
            if budget == 0:
                return
            if sequence.unread:  # only while it runs can a step read what the host does not know
                continue
            found = self.blocks.find(sequence.token_ids)[: _shareable(sequence)]
            if self._is_computed_by_another(sequence, len(found) * BLOCK_TOKENS):
                continue
            self.blocks.share(found)
            # All of its tokens must have room, not the first chunk's only: else it would be let in to be preempted.
            # Nothing is to be kept for those that run: had they more to compute, no budget would be left.
            if _blocks_of(len(sequence.token_ids)) - len(found) > self.blocks.available:
                self.blocks.give_back(found)
                return
            sequence.computed = len(found) * BLOCK_TOKENS
            if not sequence.started:
                sequence.cached_tokens = min(sequence.computed, sequence.prompt_tokens)
                self.blocks.tokens_asked += len(sequence.token_ids)
                self.blocks.tokens_found += sequence.computed
            count = min(sequence.pending, budget)
            taken = self.blocks.take(_blocks_of(sequence.computed + count) - len(found)) or []
            sequence.blocks = found + taken
            budget -= count
            self.waiting.remove(sequence)
            insort(self.running, sequence, key=self._rank)
            self._fairness[-sequence.priority].begin(sequence.job)
            chunks.append(Chunk(sequence, count))

    def _is_computed_by_another(self, sequence: Sequence, start: int) -> bool:
        """Whether a running sequence is about to compute the full block at ``start`` that ``sequence`` could share."""
        end = start + BLOCK_TOKENS
        if end > _shareable(sequence) * BLOCK_TOKENS:
            return False
        prefix = sequence.token_ids[:end]
        return any(
            other.computed < end <= len(other.token_ids) and other.token_ids[:end] == prefix for other in self.running
        )


def _blocks_of(tokens: int) -> int:
    return -(-tokens // BLOCK_TOKENS)


def _shareable(sequence: Sequence) -> int:
    """How many blocks a sequence may share: those before the first token whose hidden state is wanted of it."""
    wanted = len(sequence.token_ids) - 1
    return (wanted if sequence.reads_from is None else min(wanted, sequence.reads_from)) // BLOCK_TOKENS
