"""What transformers computes for whole token sequences, in float32."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

ROWS = 64
"""Sequences computed together."""


class Reference:
    """The model of a folder as transformers has it.

    Sequences are padded on their right, where no token before can see it.
    """

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")

    def logits(self, sequences: Seq[list[int]]) -> list[torch.Tensor]:
        """Of each token's successor: ``[tokens, vocabulary]`` for each sequence."""
        return self._rows(sequences, lambda output: output.logits)

    def hidden(self, sequences: Seq[list[int]]) -> list[torch.Tensor]:
        """The last hidden states, after the norm: ``[tokens, hidden]`` for each sequence."""
        return self._rows(sequences, lambda output: output.hidden_states[-1])

    @torch.no_grad()
    def _rows(self, sequences: Seq[list[int]], part: Any) -> list[torch.Tensor]:
        rows: list[torch.Tensor] = []
        for start in range(0, len(sequences), ROWS):
            chosen = sequences[start : start + ROWS]
            padded = torch.zeros(len(chosen), max(map(len, chosen)), dtype=torch.int64)
            for row, sequence in zip(padded, chosen, strict=True):
                row[: len(sequence)] = torch.tensor(sequence)
            found = part(self.model(padded, output_hidden_states=True))
            rows += [row[: len(sequence)] for row, sequence in zip(found, chosen, strict=True)]
        return rows

    def assert_greedy(self, prompts: Seq[list[int]], answers: Seq[list[int]], tie: float = 1e-5) -> list[torch.Tensor]:
        """Each token of each answer is the likeliest after those before it; returns the logits that say so.

        One forward over prompt and answer says what ``generate`` says token by token. Where two logits are nearer than
        ``tie`` either token is right: rounding decides.
        """
        logits = self.logits([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
        rows = [found[len(prompt) - 1 : -1] for found, prompt in zip(logits, prompts, strict=True)]
        for index, (found, answer) in enumerate(zip(rows, answers, strict=True)):
            lost = found.max(-1).values - found.gather(1, torch.tensor(answer)[:, None])[:, 0]
            assert lost.max() <= tie, f"answer {index} leaves the likeliest path at {int((lost > tie).nonzero()[0])}"
        return rows
