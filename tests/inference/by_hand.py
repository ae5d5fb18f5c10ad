"""Runs a model without generator and scheduler: sequences, chunks and blocks by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from jupyter_streaminfer.inference.batch import build_batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.model import CausalModel
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.sequence import Sequence


@dataclass
class Answer:
    """A greedy continuation, and the logits ``[count, vocabulary]`` that each token of it was chosen from."""

    token_ids: list[int] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)


class ByHand:
    """Hands out blocks in a random order, and steps whatever chunks it is given."""

    def __init__(self, model: CausalModel, *, blocks: int = 64, seed: int = 0) -> None:
        self.model = model
        self.draw = random.Random(seed)
        self.free = self.draw.sample(range(blocks), blocks)
        model.allocate(blocks)

    def start(self, prompt: list[int], most: int) -> Sequence:
        sequence = Sequence("", list(prompt), most)
        sequence.blocks = [self.free.pop() for _ in range(-(-(len(prompt) + most) // BLOCK_TOKENS))]
        return sequence

    def end(self, sequence: Sequence) -> None:
        self.free += sequence.blocks

    def step(self, chunks: Seq[Chunk]) -> list[torch.Tensor]:
        """The logits of those that complete, in order."""
        logits = self.model.logits(self.model.hidden(build_batch(chunks)))
        assert logits.dtype == torch.float32
        for chunk in chunks:
            chunk.sequence.computed += chunk.count
        return list(logits.cpu())

    def greedy(self, prompts: list[list[int]], count: int, *, largest: int = 20, company: int = 4) -> list[Answer]:
        """Continue every prompt, up to ``company`` at a time, in chunks of random sizes in a random order."""
        answers = [Answer() for _ in prompts]
        waiting = list(enumerate(prompts))[::-1]
        running: list[tuple[int, Sequence]] = []
        while waiting or running:
            while waiting and len(running) < company:
                index, prompt = waiting.pop()
                running.append((index, self.start(prompt, count)))
            self.draw.shuffle(running)
            chosen = running[: self.draw.randint(1, company)]
            chunks = [Chunk(sequence, min(sequence.pending, self.draw.randint(1, largest))) for _, sequence in chosen]
            complete = [one for one, chunk in zip(chosen, chunks, strict=True) if chunk.completes]
            for (index, sequence), logits in zip(complete, self.step(chunks), strict=True):
                answer = answers[index]
                answer.logits.append(logits)
                answer.token_ids.append(int(logits.argmax()))
                sequence.token_ids.append(answer.token_ids[-1])
                if len(answer.token_ids) == count:
                    running.remove((index, sequence))
                    self.end(sequence)
        return answers


def reference(model: PreTrainedModel, prompt: list[int], count: int) -> Answer:
    """What transformers generates greedily."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=count,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return Answer(out.sequences[0, len(prompt) :].tolist(), [logits[0] for logits in out.logits])


def prompts(vocabulary: int, count: int, longest: int) -> list[list[int]]:
    """Random tokens; lengths from 1 to ``longest``."""
    draw = random.Random(7)
    lengths = [1 + i * (longest - 1) // max(1, count - 1) for i in range(count)]
    return [[draw.randrange(3, vocabulary) for _ in range(length)] for length in lengths]


def assert_equal(found: list[Answer], expected: list[Answer], tolerance: float = 1e-4) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.token_ids == other.token_ids
        torch.testing.assert_close(torch.stack(one.logits), torch.stack(other.logits), atol=tolerance, rtol=tolerance)
