"""The Llama family on the CPU: weights packed for the kernels of ``native/``, and a step in one call of theirs.

The call lets go of the interpreter for the whole step, so the event loop beside it never waits for a layer.
"""

from __future__ import annotations

import ctypes
import weakref
from pathlib import Path

import numpy as np
import torch

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.arena import Arena
from jupyter_streaminfer.inference.batch import Batch
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.checkpoint import Checkpoint, UnsupportedError
from jupyter_streaminfer.inference.native_library import Decoder, Layer, Matrix, Step, library
from jupyter_streaminfer.inference.weights import LayerWeights, Weights

FORMS = ["float32", "bfloat16", "int8", "rounding bfloat16"]
"""Of weights, in the order of `Decoder.dtype`."""
LANES = 16
"""Head dimensions must be multiples of a vector."""
MAX_INT8_DEPTH = 2**16
"""Products in a sum of int8: of more, an unsigned byte times 127 each, 32 bits cannot hold every sum."""


class NativeLlama:
    """A `CausalModel`. Weights are float32, bfloat16 or int8 with a float32 scale for each output (absmax / 127)."""

    drawn: torch.Tensor | None = None

    def __init__(self, folder: Path, size: Architecture, *, dtype: str, rounds: bool = False, threads: int) -> None:
        """Read and pack ``folder``; ``threads`` compute together, the calling one among them.

        ``rounds``: what bfloat16 weights are multiplied with is rounded to bfloat16 as well, where the processor
        multiplies bfloat16 by itself. Otherwise they give what they give in float32.
        Raises `UnsupportedError` where there are no kernels for this processor or these sizes, and
        `StreaminferError` naming the file or tensor that cannot be used.
        """
        kernels = library()
        if kernels is None:
            raise UnsupportedError("the package has no kernels for this processor")
        if size.head_dim % LANES:
            raise UnsupportedError(f"the kernels compute heads of a multiple of {LANES}, not of {size.head_dim}")
        deepest = _deepest(size)
        if dtype == "int8" and deepest > MAX_INT8_DEPTH:
            raise UnsupportedError(f"they sum up at most {MAX_INT8_DEPTH} products of int8, not {deepest}")
        self._kernels = kernels
        self._panel = int(kernels.panel_columns())
        form = FORMS.index("rounding bfloat16" if rounds and dtype == "bfloat16" else dtype)
        self._depth = int(kernels.panel_depth(form))
        self._arena = Arena()
        self._kept: list[torch.Tensor] = []
        self._size = size
        self.architecture = size.name
        self.runner = f"native {kernels.build}: packed weights, one call a step"
        self.dtype = dtype
        self.device = torch.device("cpu")
        self.vocabulary = size.vocabulary
        self.hidden_size = size.hidden
        self.parameters = size.parameters
        self.context_length = size.context_length
        self.token_bytes = size.layers * 2 * size.kv_heads * size.head_dim * torch.float32.itemsize
        self._decoder = Decoder(
            dtype=form,
            layers=size.layers,
            hidden=size.hidden,
            intermediate=size.intermediate,
            heads=size.heads,
            kv_heads=size.kv_heads,
            head_dim=size.head_dim,
            epsilon=size.epsilon,
            rotations=self._keep(_rotations(size)),
        )
        with Checkpoint(folder) as checkpoint:
            self._read(Weights(checkpoint, size, torch.bfloat16 if dtype == "bfloat16" else torch.float32))
        self.weight_bytes = sum(tensor.nbytes for tensor in self._kept) - self._kept[0].nbytes
        self._scratch: list[torch.Tensor] = []
        self._scratch_rows = 0
        team = kernels.team_new(threads - 1)
        if not team:
            raise MemoryError("no memory for the computing threads")
        self._team = team
        weakref.finalize(self, kernels.team_free, team)

    def allocate(self, blocks: int) -> None:
        """See `CausalModel.allocate`."""
        size = self._size
        shape = (size.layers, blocks, 2, size.kv_heads, size.head_dim * BLOCK_TOKENS)
        # Not zeroed: pages are only taken when they are written, and nothing reads what was not.
        self._cache = torch.empty(shape)
        for layer, cache in zip(self._layers, self._cache, strict=True):
            layer.cache = cache.data_ptr()

    def clear(self, blocks: list[int]) -> None:
        """See `CausalModel.clear`: nothing to do, the kernels never read past a sequence's length."""

    def hidden(self, batch: Batch) -> torch.Tensor:
        """See `CausalModel.hidden`."""
        tokens, outputs = len(batch.token_ids), len(batch.outputs)
        self._reserve(tokens)
        result = torch.empty(outputs, self.hidden_size)
        step = Step(
            tokens,
            len(batch.rows) - 1,
            outputs,
            batch.tables.shape[1],
            *(_address(array) for array in (batch.token_ids, batch.positions, batch.rows, batch.tables, batch.outputs)),
            *(tensor.data_ptr() for tensor in self._scratch),
            result.data_ptr(),
        )
        self._kernels.decoder_forward(self._team, ctypes.byref(self._decoder), ctypes.byref(step))
        return result

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `CausalModel.logits`."""
        rows = hidden.shape[0]
        self._reserve(rows)
        logits = torch.empty(rows, self.vocabulary)
        self._kernels.decoder_head(
            self._team,
            ctypes.byref(self._decoder),
            hidden.data_ptr(),
            rows,
            self._scratch[-1].data_ptr(),
            logits.data_ptr(),
        )
        return logits

    def _reserve(self, rows: int) -> None:
        """Have scratch for so many rows."""
        if rows <= self._scratch_rows:
            return
        size, attended = self._size, self._size.heads * self._size.head_dim
        widths = [size.hidden, size.hidden, size.qkv_rows, attended, size.intermediate]
        rounded = self._kernels.rounded_bytes(self._decoder.dtype, rows, _deepest(size))
        self._scratch = [*(torch.empty(rows, width) for width in widths), torch.empty(rounded, dtype=torch.uint8)]
        self._scratch_rows = rows

    # Packing.

    def _read(self, weights: Weights) -> None:
        decoder = self._decoder
        decoder.norm = self._keep(weights.norm())
        head, scales = self._quantised(weights.head())
        decoder.head = self._matrix(head, scales)
        if not self._size.tied:
            embedding, scales = self._quantised(weights.embedding())
            decoder.embedding = self._keep(embedding)
            decoder.embedding_scales = None if scales is None else self._keep(scales)
        self._layers = (Layer * self._size.layers)(*map(self._layer, weights.layers()))
        decoder.layer = self._layers

    def _layer(self, weights: LayerWeights) -> Layer:
        half = self._panel // 2
        paired = [_padded(part, half).view(-1, half, self._size.hidden) for part in (weights.gate, weights.up)]
        return Layer(
            qkv=self._matrix(*self._quantised(weights.qkv), weights.qkv_bias),
            output=self._matrix(*self._quantised(weights.output)),
            gate_up=self._matrix(*self._quantised(torch.cat(paired, 1).flatten(0, 1))),
            down=self._matrix(*self._quantised(weights.down)),
            attention_norm=self._keep(weights.attention_norm),
            mlp_norm=self._keep(weights.mlp_norm),
            query_norm=None if weights.query_norm is None else self._keep(weights.query_norm),
            key_norm=None if weights.key_norm is None else self._keep(weights.key_norm),
        )

    def _quantised(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """``weight`` ``[out, in]`` as it is kept, and where that is int8 the scale of each output."""
        if self.dtype != "int8":
            return weight, None
        scales = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
        return (weight / scales[:, None]).round_().to(torch.int8), scales

    def _matrix(self, weight: torch.Tensor, scales: torch.Tensor | None, bias: torch.Tensor | None = None) -> Matrix:
        """Pack ``[out, in]`` into panels ``[out / panel, in / depth, panel, depth]``, both padded with zeros."""
        padded = _padded(_padded(weight, self._panel).T, self._depth).T
        panels = padded.reshape(-1, self._panel, padded.shape[1] // self._depth, self._depth).transpose(1, 2)
        return Matrix(
            weight=self._keep(panels),
            scales=None if scales is None else self._keep(_padded(scales, self._panel)),
            sums=None if scales is None else self._keep(padded.sum(1, dtype=torch.int32)),
            bias=None if bias is None else self._keep(_padded(bias, self._panel)),
            panels=len(panels),
            columns=len(weight),
        )

    def _keep(self, tensor: torch.Tensor) -> int:
        """The address of a copy that lives as long as the model."""
        self._kept.append(self._arena.copy(tensor))
        return self._kept[-1].data_ptr()


def _deepest(size: Architecture) -> int:
    """The most products that a matrix has in a sum."""
    return max(size.hidden, size.heads * size.head_dim, size.intermediate)


def _padded(tensor: torch.Tensor, multiple: int) -> torch.Tensor:
    """With zeros below, so that its length is a multiple."""
    missing = -len(tensor) % multiple
    return torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) if missing else tensor


def _rotations(size: Architecture) -> torch.Tensor:
    """``[context_length, head_dim]``: the cosines of each position's angles, then their sines."""
    angles = torch.arange(size.context_length, dtype=torch.float32)[:, None] * torch.tensor(size.inverse_frequencies)
    return torch.cat([angles.cos(), angles.sin()], 1) * size.rope_scale


def _address(array: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> int:
    address: int = array.__array_interface__["data"][0]  # a tenth of what `array.ctypes` takes
    return address
