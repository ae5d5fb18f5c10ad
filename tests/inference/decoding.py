"""Decodes with a `TorchLlama`, by hand and through a generator, to compare its ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.checkpoint import read_json
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.scheduler import Chunk
from jupyter_streaminfer.inference.sequence import Sequence
from jupyter_streaminfer.inference.tokenizer import Tokenizer
from jupyter_streaminfer.inference.torch_llama import TorchLlama

from .by_hand import ByHand, prompts
from .conftest import drain, generate_job

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def load(
    folder: Path, graphs: bool, dtype: str = "float32", device: torch.device = CPU, ahead: bool | None = None
) -> TorchLlama:
    """A folder's model that decodes over buffers that stay, or does not; ``ahead``: see `TorchLlama`."""
    size = Architecture.read(read_json(folder / "config.json"))
    return TorchLlama(folder, size, dtype=dtype, device=device, reason="a test", graphs=graphs, ahead=ahead)


def decoding(hand: ByHand, lengths: list[int]) -> list[Sequence]:
    """Sequences of these lengths whose last token alone is left to compute."""
    draw = np.random.default_rng(len(lengths))
    sequences = [hand.start(draw.integers(3, 300, length).tolist(), 20) for length in lengths]
    for sequence in sequences:
        if sequence.pending > 1:
            hand.step([Chunk(sequence, sequence.pending - 1)])
    return sequences


def continued(model: TorchLlama, lengths: list[int], count: int) -> tuple[list[list[int]], torch.Tensor]:
    """Decode sequences of these lengths together: their tokens, and the logits ``[count, rows, vocabulary]``."""
    hand = ByHand(model, blocks=sum(-(-(length + 20) // BLOCK_TOKENS) for length in lengths))
    sequences = decoding(hand, lengths)
    steps = []
    for _ in range(count):
        steps.append(torch.stack(hand.step([Chunk(sequence, 1) for sequence in sequences])))
        for sequence, token in zip(sequences, steps[-1].argmax(-1).tolist(), strict=True):
            sequence.token_ids.append(token)
    return [sequence.token_ids for sequence in sequences], torch.stack(steps)


def serve(folder: Path, model: TorchLlama) -> tuple[Generator, dict[str, list[int]]]:
    """A generator that was warmed up, and the tokens of more requests than it has places and blocks for."""
    runtime = Generator(
        model,
        Tokenizer(folder, model.vocabulary),
        cache_bytes=24 * BLOCK_TOKENS * model.token_bytes,  # few enough for preemption
        max_batch_size=6,
        step_tokens=48,
        max_queue=64,
    )
    runtime.warm_up()
    for index, prompt in enumerate(prompts(300, 14, 50)):
        runtime.submit(
            generate_job(
                str(index),
                prompt,
                seed=index,
                max_tokens=5 + 7 * index % 50,
                temperature=float(index % 2),
                repetition_penalty=1.0 + 0.1 * (index % 3),
                ignore_eos=True,
            )
        )
    return runtime, {job: outcome.token_ids for job, outcome in drain(runtime).items()}
