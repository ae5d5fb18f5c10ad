"""The attention kernels in Triton against the formula: on a GPU, or on the CPU by Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.inference.architecture import Architecture
from jupyter_streaminfer.inference.attention import Attention, StepTensors
from jupyter_streaminfer.inference.blocks import BLOCK_TOKENS
from jupyter_streaminfer.inference.checkpoint import read_json
from jupyter_streaminfer.inference.paged_attention import LEAST, SLICES, PagedAttention, paged_attention, try_out
from jupyter_streaminfer.inference.torch_llama import TorchLlama

from .by_hand import ByHand, assert_equal, prompts
from .conftest import build_folder

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HAS_TRITON = find_spec("triton") is not None
# Triton looks at it when it is imported, which some other test's library may have done.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_kernels = pytest.mark.skipif(
    not HAS_TRITON or (DEVICE.type == "cpu" and not INTERPRETED),
    reason="needs triton and a GPU, or TRITON_INTERPRET=1 instead of the GPU",
)
needs_triton = pytest.mark.skipif(not HAS_TRITON, reason="needs triton, which torch brings for a GPU")


class Rows:
    """Sequences of given lengths over scattered blocks; what is in no sequence is NaN."""

    def __init__(
        self, lengths: list[int], kv_heads: int, group: int, head_dim: int, dtype: torch.dtype = torch.float32
    ) -> None:
        draw = torch.Generator().manual_seed(0)
        self.lengths = lengths
        self.shape = kv_heads, group, head_dim
        self.queries = torch.randn(len(lengths), kv_heads * group, head_dim, generator=draw).to(DEVICE, dtype)
        columns = max(1, -(-max(lengths) // BLOCK_TOKENS))
        order = torch.randperm(len(lengths) * columns + 3, generator=draw)
        self.tables = order[: len(lengths) * columns].view(len(lengths), columns).to(DEVICE)
        self.layer = torch.full((len(order), BLOCK_TOKENS, 2, kv_heads, head_dim), torch.nan)
        self.layer = self.layer.to(DEVICE, dtype)
        self.tokens = []
        for table, length in zip(self.tables, lengths, strict=True):
            tokens = torch.randn(length, 2, kv_heads, head_dim, generator=draw).to(DEVICE, dtype)
            self.tokens.append(tokens)
            for first in range(0, length, BLOCK_TOKENS):
                part = tokens[first : first + BLOCK_TOKENS]
                self.layer[table[first // BLOCK_TOKENS], : len(part)] = part

    def attend(self, how: Attention, rows: list[int] | None = None) -> torch.Tensor:
        """What the kernels say of these rows, or of all."""
        chosen = torch.arange(len(self.lengths)) if rows is None else torch.tensor(rows)
        return PagedAttention()(
            self.queries[chosen],
            self.layer,
            self.tables[chosen],
            torch.tensor(self.lengths, device=DEVICE)[chosen.to(DEVICE)],
            scale=self.shape[2] ** -0.5 if how.scale is None else how.scale,
            window=how.window,
            softcap=how.softcap,
        )

    def formula(self, how: Attention) -> torch.Tensor:
        """The same in float64, row by row; 0 where there is no position."""
        results = torch.zeros(self.queries.shape, dtype=torch.float64, device=DEVICE)
        for row, tokens in enumerate(self.tokens):
            seen = tokens[-how.window :] if how.window else tokens
            if len(seen):
                key, value = seen.double().repeat_interleave(self.shape[1], 2).permute(1, 2, 0, 3)
                scores = (key @ self.queries[row].double()[:, :, None])[:, :, 0]
                scores *= self.shape[2] ** -0.5 if how.scale is None else how.scale
                if how.softcap is not None:
                    scores = how.softcap * torch.tanh(scores / how.softcap)
                results[row] = (scores.softmax(-1)[:, None] @ value)[:, 0]
        return results


@needs_kernels
@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(0, 3 * LEAST), min_size=1, max_size=3),
    kv_heads=st.integers(1, 2),
    group=st.sampled_from([1, 3, 4, 17]),
    head_dim=st.sampled_from([8, 20, 64]),
    how=st.builds(
        Attention,
        scale=st.none() | st.floats(0.1, 1.0),
        window=st.none() | st.integers(1, 2 * LEAST),
        softcap=st.none() | st.floats(1.0, 20.0),
    ),
)
def test_any_rows_are_the_formula(lengths: list[int], kv_heads: int, group: int, head_dim: int, how: Attention) -> None:
    rows = Rows(lengths, kv_heads, group, head_dim)
    torch.testing.assert_close(rows.attend(how).double(), rows.formula(how), atol=2e-5, rtol=2e-5)


@needs_kernels
def test_slices_grow_with_what_is_longer_than_all_of_them() -> None:
    rows = Rows([SLICES * LEAST + 1, SLICES * LEAST * 2 - 5], 1, 2, 16)
    for how in (Attention(), Attention(window=SLICES * LEAST + 40)):
        torch.testing.assert_close(rows.attend(how).double(), rows.formula(how), atol=2e-5, rtol=2e-5)


@needs_kernels
@pytest.mark.parametrize("head_dim", [64, 128])
def test_half_the_bits_are_as_near_as_they_can_be(head_dim: int) -> None:
    # The interpreter multiplies bfloat16's bits as if they were whole numbers; float16 takes the same way.
    dtype = torch.float16 if DEVICE.type == "cpu" else torch.bfloat16
    rows = Rows([300, 17, 129], 2, 4, head_dim, dtype)
    torch.testing.assert_close(rows.attend(Attention()).double(), rows.formula(Attention()), atol=2e-2, rtol=2e-2)


@needs_kernels
def test_a_row_is_the_same_to_the_bit_in_any_batch() -> None:
    rows = Rows([5, 700, 0, 130, 128], 2, 3, 32)
    together = rows.attend(Attention())
    for chosen in ([1], [3, 0], [4, 2, 1, 1]):
        assert torch.equal(rows.attend(Attention(), chosen), together[chosen])
    assert not together[2].any()


@needs_kernels
def test_a_broken_row_says_so_and_breaks_no_other() -> None:
    rows = Rows([200, 40], 2, 2, 16)
    alone = rows.attend(Attention(), [1])
    rows.layer[rows.tables[0, 3], 7] = torch.nan
    found = rows.attend(Attention())
    assert found[0].isnan().all()
    assert torch.equal(found[1:], alone)


@needs_kernels
def test_reads_a_bfloat16_cache_with_float32_queries() -> None:
    rows = Rows([150, 20], 2, 2, 16)
    rounded = Rows([150, 20], 2, 2, 16)
    rounded.layer = rounded.layer.bfloat16()
    rows.tokens = [tokens.bfloat16().float() for tokens in rows.tokens]
    torch.testing.assert_close(rounded.attend(Attention()).double(), rows.formula(Attention()), atol=2e-5, rtol=2e-5)


@needs_kernels
def test_tables_and_queries_may_have_any_strides() -> None:
    rows = Rows([150, 20], 2, 2, 16)
    expected = rows.attend(Attention())
    rows.tables = rows.tables.t().contiguous().t()
    rows.queries = torch.cat([rows.queries, torch.full_like(rows.queries, torch.nan)], 1)[:, : rows.queries.shape[1]]
    assert torch.equal(rows.attend(Attention()), expected)


@needs_kernels
def test_the_first_try_finds_them_right() -> None:
    assert try_out(PagedAttention(), DEVICE) < 1e-4


@needs_kernels
@pytest.mark.parametrize("graphs", [False, True], ids=["steps", "graphs"])
def test_a_model_says_the_same_with_them(tmp_path: Path, graphs: bool) -> None:
    folder = build_folder(tmp_path, head_dim=16)
    size = Architecture.read(read_json(folder / "config.json"))
    kernels, plain = (
        TorchLlama(folder, size, dtype="float32", device=device, reason="a test", paged=paged, graphs=graphs)
        for device, paged in ((DEVICE, PagedAttention()), (torch.device("cpu"), None))
    )
    assert "paged attention" in kernels.runner
    several = prompts(300, 5, 40)
    # What a block held before is not cleared for the kernels, and must not be seen.
    hands = ByHand(kernels, blocks=20), ByHand(plain, blocks=20)
    for layer in kernels.storage.layers:
        layer.fill_(torch.nan)
    fixed, expected = (hand.greedy(several, 5, largest=9, company=3) for hand in hands)
    assert_equal(fixed, expected, tolerance=1e-3 if DEVICE.type == "cuda" else 1e-4)


COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from jupyter_streaminfer.inference import paged_attention_kernels as kernels

fixed = {"capped": True, "kv_heads": 8, "group": 4, "group_room": 16, "head_dim": 128, "dim_room": 128}
fixed |= {"block_tokens": 16, "slices": 32, "tile": 32, "least": 128}
numbers = ["query_row", "query_head", "table_row", "table_column", "window"]
for kernel in (kernels.attend_slices, kernels.join_slices):
    for dtype in ("bf16", "fp32"):
        types = {name: f"*{dtype}" for name in ("queries", "layer", "attended")}
        types |= {"tables": "*i64", "lengths": "*i64"} | {name: "*fp32" for name in ("bests", "totals", "sums")}
        types |= dict.fromkeys(numbers, "i32") | {"scale": "fp32", "softcap": "fp32"}
        types |= dict.fromkeys(fixed, "constexpr")
        names = kernel.arg_names
        source = ASTSource(
            fn=kernel,
            signature={name: types[name] for name in names},
            constexprs={name: fixed[name] for name in names if name in fixed},
        )
        for capability in (80, 90):
            assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
"""


@needs_triton
def test_compiles_for_gpus_that_are_not_there(tmp_path: Path) -> None:
    about = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    about["TRITON_CACHE_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", COMPILES], check=True, env=about, cwd=Path(__file__).parents[2])


def test_without_a_gpu_torch_attends() -> None:
    assert paged_attention(torch.device("cpu")) is None
    step = StepTensors(*[torch.zeros(1, dtype=torch.int64)] * 3, torch.zeros(1, 1, dtype=torch.int64))
    assert step.paged is None


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "dtype", "suits"),
    [
        (32, 8, 128, torch.bfloat16, True),
        (32, 32, 64, torch.float32, True),
        (8, 1, 256, torch.float32, True),
        (8, 1, 512, torch.float32, False),
        (128, 1, 256, torch.bfloat16, False),
    ],
)
def test_which_layers_it_suits(heads: int, kv_heads: int, head_dim: int, dtype: torch.dtype, suits: bool) -> None:
    assert PagedAttention.suits(heads, kv_heads, head_dim, dtype) == suits
