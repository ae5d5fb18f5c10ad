"""Images as a page draws them: raw bytes, grey or RGB, of a bounded size."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from jupyter_streaminfer.protocol import Signature, StreaminferError

MAX_SIDE = 224
"""Pixels; a larger image is shown smaller."""
LOOKED_AT = 1 << 22
"""How many numbers of an array are looked at for its range, at most."""


class Picture(msgspec.Struct, frozen=True):
    """The TypeScript twin is ``IPicture`` in ``labextension/src/review/desk.ts``."""

    width: int
    height: int
    channels: int
    """1: grey; 3: RGB."""
    pixels: bytes
    """``[height, width, channels]``."""


class Pictures:
    """One image a row, of an array ``[rows, height, width]`` or ``[rows, height, width, channels]``, or a sequence of
    arrays that may differ in size. One, three or four channels, the fourth being left out; ``[channels, height,
    width]`` does as well.

    Bytes are shown as they are, booleans black and white, numbers from 0 to 1 from black to white, and all others from
    the least to the greatest.
    """

    def __init__(self, images: Any, rows: int) -> None:
        """Raises `StreaminferError` where they are not images, or not as many as rows."""
        self._images: Any = _array(images) if hasattr(images, "__array__") else list(images)
        if len(self._images) != rows:
            raise _refused(f"{rows} images are needed, one a row, found {len(self._images)}")
        self._range = _range(self._images) if isinstance(self._images, np.ndarray) else None
        if rows:
            self.of(0)

    def of(self, row: int) -> Picture:
        """The image of a row. Raises `StreaminferError` where it is none."""
        image = _with_channels(_array(self._images[row]), row)
        low, high = self._range or _range(image)
        if image.dtype != np.uint8:
            scaled = (_reduced(image.astype(np.float64)) - low) * (255.0 / (high - low) if high > low else 0.0)
            image = np.nan_to_num(scaled).clip(0, 255).round().astype(np.uint8)
        else:
            image = _reduced(image)
        height, width, channels = image.shape
        return Picture(width, height, channels, np.ascontiguousarray(image).tobytes())


def pictures_of(rows: Any, count: int, signature: Signature | None) -> Pictures | None:
    """The images that rows are, if they are: an array of images, or of what its model takes for flat ones."""
    shape = list(getattr(rows, "shape", []))
    if not count or len(shape) < 2 or not hasattr(rows, "reshape"):
        return None
    if len(shape) == 4 and {shape[1], shape[3]} & {1, 3, 4}:
        return Pictures(rows, count)
    also = signature.inputs[0].also if signature is not None and len(signature.inputs) == 1 else []
    image = next((each for each in also if len(each) == 2), None)
    if image is not None and shape[1:] in (image, [image[0] * image[1]]):
        return Pictures(rows.reshape(count, *image), count)
    return None


def _array(image: Any) -> NDArray[Any]:
    found = np.asarray(image)
    if found.dtype.kind not in "biuf":
        raise _refused(f"numbers are needed, found {found.dtype}")
    return found


def _with_channels(image: NDArray[Any], row: int) -> NDArray[Any]:
    """``[height, width, 1 or 3]``."""
    if image.ndim == 2:
        image = image[..., np.newaxis]
    if image.ndim == 3 and image.shape[2] not in (1, 3, 4) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, 2)
    if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or not image.size:
        raise _refused(f"image {row} must be [height, width] or [height, width, 1, 3 or 4], found {list(image.shape)}")
    return image[..., :3] if image.shape[2] == 4 else image


def _range(numbers: Any) -> tuple[float, float]:
    """What is black and what is white."""
    if numbers.dtype == np.uint8:
        return 0.0, 255.0
    flat = numbers.reshape(-1)
    looked_at = flat[:: max(1, flat.size // LOOKED_AT)].astype(np.float64)
    finite = looked_at[np.isfinite(looked_at)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def _reduced(image: NDArray[Any]) -> NDArray[Any]:
    """The same with no side longer than `MAX_SIDE`: each of its pixels is the mean of a square."""
    height, width, channels = image.shape
    step = -(-max(height, width) // MAX_SIDE)
    if step == 1:
        return image
    down, across = max(1, height // step), max(1, width // step)
    tall, wide = min(step, height), min(step, width)
    squares = image[: down * tall, : across * wide].reshape(down, tall, across, wide, channels)
    mean: NDArray[Any] = squares.mean((1, 3))
    return mean.round().astype(np.uint8) if image.dtype == np.uint8 else mean


def _refused(reason: str) -> StreaminferError:
    return StreaminferError("invalid_request", f"images: {reason}.", field="images")
