"""The compiled kernels of ``native/``: which build fits this processor, and its structures for ctypes."""

from __future__ import annotations

import ctypes
import functools
import platform
from ctypes import POINTER, c_float, c_int32, c_void_p
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "native"
VARIANTS = {"AVX512": "avx512", "AVX2": "avx2"}
"""By what torch finds the processor, and its operating system, to have."""


class Matrix(ctypes.Structure):
    """`Matrix` of ``decoder.cpp``."""

    _fields_ = [
        ("weight", c_void_p),
        ("scales", c_void_p),
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
        ("result", c_void_p),
    ]


def variant() -> str | None:
    """The build that this processor runs; None where there is none for it."""
    if platform.machine() in ("aarch64", "arm64"):
        return "neon"
    return VARIANTS.get(torch.backends.cpu.get_cpu_capability())


@functools.cache
def library() -> ctypes.CDLL | None:
    """The kernels, whose calls let go of the interpreter; None where there are none that can be used."""
    name = variant()
    path = FOLDER / f"decoder-{name}.so"
    if name is None or not path.exists():
        return None
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError:
        # Another C library, or a file system that nothing may be run from: torch computes then.
        return None
    loaded.team_new.restype = c_void_p
    loaded.team_new.argtypes = [c_int32]
    loaded.team_free.restype = None
    loaded.team_free.argtypes = [c_void_p]
    loaded.decoder_forward.restype = None
    loaded.decoder_forward.argtypes = [c_void_p, POINTER(Decoder), POINTER(Step)]
    loaded.decoder_head.restype = None
    loaded.decoder_head.argtypes = [c_void_p, POINTER(Decoder), c_void_p, c_int32, c_void_p]
    return loaded
