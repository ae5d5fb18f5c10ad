"""Rotary position embeddings: the frequencies that a ``config.json`` asks for, after Hugging Face's formulas."""

from __future__ import annotations

import math
from typing import Any

import torch

from jupyter_streaminfer.inference.checkpoint import Config, UnsupportedError, refuse

MAX_FACTOR = 1e6


class Rope:
    """``inverse_frequencies``, one a rotary pair, and the ``scale`` that multiplies cosine and sine.

    Computed in float32 and in the reference's order of operations: angles at far positions are exact to the bit.
    """

    def __init__(self, values: dict[str, Any], head_dim: int, context_length: int) -> None:
        """Raise `UnsupportedError` for a type that is not computed, `StreaminferError` for a field out of range."""
        parameters = Config(_parameters(values))
        kind = parameters.values.get("rope_type", parameters.values.get("type", "default"))
        base = parameters.number("rope_theta", 1.0, 1e12, 10000.0)
        wavelengths = base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
        self.scale = 1.0
        if kind == "default":
            found = 1.0 / wavelengths
        elif kind == "linear":
            found = 1.0 / wavelengths / parameters.number("factor", 1.0, MAX_FACTOR)
        elif kind == "llama3":
            found = _llama3(parameters, 1.0 / wavelengths, context_length)
        elif kind == "yarn":
            found = _yarn(parameters, wavelengths, base, context_length)
            self.scale = _yarn_scale(parameters, context_length)
        else:
            raise UnsupportedError(
                f"config.json: RoPE of type {kind!r:.80} is not supported, expected default, linear, llama3 or yarn"
            )
        self.inverse_frequencies: tuple[float, ...] = tuple(found.tolist())


def _parameters(values: dict[str, Any]) -> dict[str, Any]:
    """The rotary fields in one object, wherever this age of ``config.json`` keeps them."""
    field = "rope_scaling" if values.get("rope_scaling") else "rope_parameters"
    found = values.get(field) or {}
    if not isinstance(found, dict):
        raise refuse(f"config.json: {field} must be an object, found {found!r:.80}")
    if any(isinstance(value, dict) for value in found.values()):
        raise UnsupportedError(f"config.json: {field} differs between layers, which is not supported")
    for name in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if values.get(name) is not None:
            found = {name: values[name], **found}
    if found.get("partial_rotary_factor") not in (None, 1, 1.0):
        raise UnsupportedError("config.json: RoPE over a part of the head (partial_rotary_factor) is not supported")
    return found


def _original(parameters: Config, context_length: int) -> int:
    """Positions before the scaling."""
    return parameters.integer("original_max_position_embeddings", 1, 2**21, context_length)


def _llama3(parameters: Config, frequencies: torch.Tensor, context_length: int) -> torch.Tensor:
    """Slow the low frequencies by ``factor``, keep the high ones, and blend between."""
    factor = parameters.number("factor", 1.0, MAX_FACTOR)
    low = parameters.number("low_freq_factor", 1e-3, MAX_FACTOR)
    high = parameters.number("high_freq_factor", 1e-3, MAX_FACTOR)
    if high <= low:
        raise refuse(f"config.json: high_freq_factor {high} must be greater than low_freq_factor {low}")
    original = _original(parameters, context_length)
    wavelengths = 2 * math.pi / frequencies
    slowed = torch.where(wavelengths > original / low, frequencies / factor, frequencies)
    blend = (original / wavelengths - low) / (high - low)
    blended = (1 - blend) * slowed / factor + blend * slowed
    between = (wavelengths >= original / high) & (wavelengths <= original / low)
    return torch.where(between, blended, slowed)


def _yarn_factor(parameters: Config, context_length: int) -> float:
    stretched = max(1.0, context_length / _original(parameters, context_length))
    return parameters.number("factor", 1.0, MAX_FACTOR, stretched)


def _yarn(parameters: Config, wavelengths: torch.Tensor, base: float, context_length: int) -> torch.Tensor:
    """Interpolate what turns rarely within the original context, keep what turns often, with a ramp between."""
    factor = _yarn_factor(parameters, context_length)
    original = _original(parameters, context_length)
    pairs = len(wavelengths)
    fast = parameters.number("beta_fast", 1e-3, MAX_FACTOR, 32.0)
    slow = parameters.number("beta_slow", 1e-3, MAX_FACTOR, 1.0)
    if base == 1.0:
        raise refuse("config.json: rope_theta must be greater than 1 for RoPE of type 'yarn'")

    def pair(rotations: float) -> float:
        """The pair, counted in dimensions, that turns this often within the original context."""
        return (2 * pairs * math.log(original / (rotations * 2 * math.pi))) / (2 * math.log(base))

    low, high = pair(fast), pair(slow)
    if parameters.flag("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, 2 * pairs - 1)
    if low == high:
        high += 0.001
    ramp = ((torch.arange(pairs, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    keep = 1 - ramp
    return 1.0 / (factor * wavelengths) * (1 - keep) + 1.0 / wavelengths * keep


def _yarn_scale(parameters: Config, context_length: int) -> float:
    """What cosine and sine are multiplied with, by the fields that say it or as the paper recommends."""
    factor = _yarn_factor(parameters, context_length)
    if parameters.values.get("attention_factor") is not None:
        return parameters.number("attention_factor", 1e-3, MAX_FACTOR)
    above, below = parameters.number("mscale", 0.0, 1e3, 0.0), parameters.number("mscale_all_dim", 0.0, 1e3, 0.0)
    if above and below:
        return _magnitude(factor, above) / _magnitude(factor, below)
    return _magnitude(factor, 1.0)


def _magnitude(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0
