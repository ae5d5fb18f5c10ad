"""The compiled kernels of ``native/``: which build fits this processor, and its structures for ctypes."""

from __future__ import annotations

import ctypes
import functools
import platform
from ctypes import POINTER, c_float, c_int32, c_long, c_void_p
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "native"
LEVELS = ["AVX512", "AVX2"]
"""What torch finds the processor, and its operating system, to have: each has those after it too."""
SHORT_PRODUCTS = ("avx512_bf16", "avx512_vnni")
"""What the build ``avx512-bf16`` needs besides, by torch's names."""


class Matrix(ctypes.Structure):
    """`Matrix` of ``decoder.cpp``."""

    _fields_ = [
        ("weight", c_void_p),
        ("scales", c_void_p),
        ("sums", c_void_p),
        ("bias", c_void_p),
        ("panels", c_int32),
        ("columns", c_int32),
    ]


class Layer(ctypes.Structure):
    """`Layer` of ``decoder.cpp``."""

    _fields_ = [
        ("qkv", Matrix),
        ("output", Matrix),
        ("gate_up", Matrix),
        ("down", Matrix),
        ("attention_norm", c_void_p),
        ("mlp_norm", c_void_p),
        ("query_norm", c_void_p),
        ("key_norm", c_void_p),
        ("cache", c_void_p),
    ]


class Decoder(ctypes.Structure):
    """`Decoder` of ``decoder.cpp``."""

    _fields_ = [
        ("dtype", c_int32),
        ("layers", c_int32),
        ("hidden", c_int32),
        ("intermediate", c_int32),
        ("heads", c_int32),
        ("kv_heads", c_int32),
        ("head_dim", c_int32),
        ("epsilon", c_float),
        ("layer", POINTER(Layer)),
        ("head", Matrix),
        ("embedding", c_void_p),
        ("embedding_scales", c_void_p),
        ("norm", c_void_p),
        ("rotations", c_void_p),
    ]


class Step(ctypes.Structure):
    """`Step` of ``decoder.cpp``."""

    _fields_ = [
        ("tokens", c_int32),
        ("chunks", c_int32),
        ("outputs", c_int32),
        ("table_width", c_int32),
        ("token_ids", c_void_p),
        ("positions", c_void_p),
        ("rows", c_void_p),
        ("tables", c_void_p),
        ("output_rows", c_void_p),
        ("hidden", c_void_p),
        ("normed", c_void_p),
        ("qkv", c_void_p),
        ("attended", c_void_p),
        ("inner", c_void_p),
        ("rounded", c_void_p),
        ("result", c_void_p),
    ]


class Kernels(ctypes.CDLL):
    """A build that was loaded; its calls let go of the interpreter."""

    build: str


def builds() -> list[str]:
    """The builds that this processor runs, the fastest first."""
    if platform.machine() in ("aarch64", "arm64"):
        return ["neon"]
    capability = torch.backends.cpu.get_cpu_capability()
    found = LEVELS[LEVELS.index(capability) :] if capability in LEVELS else []
    names = [name.lower() for name in found]
    # Releases of torch that cannot tell are taken for processors that have none.
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if "avx512" in names and all(map(capabilities.get, SHORT_PRODUCTS)):
        return ["avx512-bf16", *names]
    return names


def library() -> Kernels | None:
    """The kernels; None where there are none that can be used."""
    return next(filter(None, map(_load, builds())), None)


@functools.cache
def _load(build: str) -> Kernels | None:
    path = FOLDER / f"decoder-{build}.so"
    if not path.exists():
        return None
    try:
        loaded = Kernels(str(path))
    except OSError:
        # Another C library, or a file system that nothing may be run from: torch computes then.
        return None
    loaded.build = build
    loaded.rounded_bytes.restype = c_long
    loaded.rounded_bytes.argtypes = [c_int32, c_int32, c_long]
    loaded.team_new.restype = c_void_p
    loaded.team_new.argtypes = [c_int32]
    loaded.team_free.restype = None
    loaded.team_free.argtypes = [c_void_p]
    loaded.decoder_forward.restype = None
    loaded.decoder_forward.argtypes = [c_void_p, POINTER(Decoder), POINTER(Step)]
    loaded.decoder_head.restype = None
    loaded.decoder_head.argtypes = [c_void_p, POINTER(Decoder), c_void_p, c_int32, c_void_p, c_void_p]
    return loaded
