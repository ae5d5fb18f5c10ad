"""The noise of a draw: a hash of the sequence's seed and the position that the token will have.

So it depends on nobody else in the batch, and a stream continues exactly from any point.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]

# Steele, Lea and Flood: Fast splittable pseudorandom number generators (2014), with Stafford's constants.
INCREMENT = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
MASK = 2**64 - 1


def noise_keys(seeds: Seq[int]) -> UInt64:
    """One round of SplitMix64 over each seed, of which the low 64 bits count; the first half of `uniform`."""
    return _mix(np.array([seed & MASK for seed in seeds], np.uint64))


def uniform(keys: UInt64, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The noise at each row's position: in [0, 1), a multiple of 2**-24, from a second round of SplitMix64."""
    hashes = _mix(keys + positions.astype(np.uint64) * INCREMENT) >> np.uint64(40)
    return hashes.astype(np.float64) * 2.0**-24


def _mix(values: UInt64) -> UInt64:
    values = values + INCREMENT
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))
