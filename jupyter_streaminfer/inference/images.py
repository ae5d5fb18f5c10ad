"""Pictures as a vision model wants them: resized, cropped, rescaled, normalised, in torch alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from jupyter_streaminfer.inference.checkpoint import Config, read_json, refuse
from jupyter_streaminfer.inference.rows import Column
from jupyter_streaminfer.protocol import StreaminferError

MAX_SIDE = 8192
RESAMPLING = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
"""By the numbers that they have in Pillow."""
CONVNEXT_WHOLE = 384
"""From this size on, models with a ``crop_pct`` see the whole picture."""


@dataclass(frozen=True)
class Preparation:
    """What ``preprocessor_config.json`` says."""

    height: int | None
    width: int | None
    shortest: int | None
    """The shorter side after resizing, where the longer one follows; None where neither is set: not resized."""
    crop: tuple[int, int] | None
    resampling: str
    scale: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def read(cls, path: Path) -> Preparation:
        """Raises `StreaminferError` ``invalid_request`` for what is not understood."""
        values = read_json(path)
        config = Config(values)
        height = width = shortest = None
        crop = None
        if config.flag("do_center_crop", False):
            crop = _pair(values.get("crop_size", values.get("size")), "crop_size")
        if config.flag("do_resize", True):
            size = values.get("size", 224)
            # Models that see the middle of a picture mean its shorter side by a plain number, others both sides.
            whole = {"shortest_edge": size} if crop and type(size) is int else size
            height, width, shortest = _size(whole, "size")
        if shortest is not None and values.get("crop_pct") is not None:
            part = config.number("crop_pct", 0.01, 1.0)
            if shortest < CONVNEXT_WHOLE:
                crop, shortest = (shortest, shortest), int(shortest / part)
            else:
                height, width, shortest = shortest, shortest, None
        if crop is None and (height is None or width is None):
            raise refuse(f"{path.name}: pictures would come in different sizes; expected size with height and width")
        code = values.get("resample", 2)
        if code not in RESAMPLING:
            raise refuse(f"{path.name}: resample must be one of {sorted(RESAMPLING)}, found {code!r:.80}")
        normal = config.flag("do_normalize", True)
        return cls(
            height,
            width,
            shortest,
            crop,
            RESAMPLING[code],
            config.number("rescale_factor", 1e-9, 1e3, 1 / 255) if config.flag("do_rescale", True) else 1.0,
            _numbers(values, "image_mean", 0.5) if normal else (0.0,) * 3,
            _numbers(values, "image_std", 0.5) if normal else (1.0,) * 3,
        )

    def pixels(self, images: Column) -> np.ndarray:
        """``[rows, 3, height, width]`` float32 of pictures, uint8 ``[height, width, 3]`` each."""
        found: list[torch.Tensor | None] = [None] * len(images)
        alike: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            alike.setdefault(image.shape, []).append(index)
        for indices in alike.values():
            made = self._made(torch.from_numpy(np.stack([images[index] for index in indices])))
            for index, picture in zip(indices, made, strict=True):
                found[index] = picture
        return torch.stack([picture for picture in found if picture is not None]).numpy()

    def _made(self, pictures: torch.Tensor) -> torch.Tensor:
        pixels = pictures.permute(0, 3, 1, 2).float()
        height, width = pixels.shape[2:]
        if self.shortest is not None:
            factor = self.shortest / min(height, width)
            sides = (self.shortest, int(width * factor)) if height <= width else (int(height * factor), self.shortest)
            pixels = self._resized(pixels, sides)
        elif self.height is not None and self.width is not None:
            pixels = self._resized(pixels, (self.height, self.width))
        if self.crop is not None:
            pixels = _cropped(pixels, *self.crop)
        mean, deviation = (torch.tensor(each).view(1, 3, 1, 1) for each in (self.mean, self.deviation))
        return (pixels * self.scale - mean) / deviation

    def _resized(self, pixels: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
        if tuple(pixels.shape[2:]) == sides:
            return pixels
        smooth = self.resampling != RESAMPLING[0]
        resized = interpolate(
            pixels, sides, mode=self.resampling, antialias=smooth, align_corners=False if smooth else None
        )
        # Resized pictures are pictures: whole numbers, as the libraries that models were trained with have them.
        return resized.round().clamp(0, 255)


def _cropped(pixels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The middle of each picture, with black around it where it is smaller."""
    missing = [max(0, height - pixels.shape[2]), max(0, width - pixels.shape[3])]
    if any(missing):
        top, left = missing[0] // 2, missing[1] // 2
        pixels = pad(pixels, (left, missing[1] - left, top, missing[0] - top))
    top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
    return pixels[:, :, top : top + height, left : left + width]


def _size(value: Any, field: str) -> tuple[int | None, int | None, int | None]:
    """``size`` in its forms: height, width, shortest side."""
    if isinstance(value, dict) and "shortest_edge" in value:
        if "longest_edge" in value:
            raise refuse(f"preprocessor_config.json: {field} with longest_edge is not supported")
        return None, None, Config(value).integer("shortest_edge", 1, MAX_SIDE)
    height, width = _pair(value, field)
    return height, width, None


def _pair(value: Any, field: str) -> tuple[int, int]:
    sides = value if isinstance(value, dict) else {"height": value, "width": value}
    if "shortest_edge" in sides:
        sides = {"height": sides["shortest_edge"], "width": sides["shortest_edge"]}
    config = Config(sides)
    try:
        return config.integer("height", 1, MAX_SIDE), config.integer("width", 1, MAX_SIDE)
    except StreaminferError:
        raise refuse(f"preprocessor_config.json: {field} must have height and width, found {value!r:.80}") from None


def _numbers(values: dict[str, Any], field: str, default: float) -> tuple[float, ...]:
    found = values.get(field, [default] * 3)
    if not isinstance(found, list) or len(found) != 3 or not all(type(each) in (int, float) for each in found):
        raise refuse(f"preprocessor_config.json: {field} must be three numbers, found {found!r:.80}")
    if field == "image_std" and 0 in found:
        raise refuse("preprocessor_config.json: image_std cannot be 0")
    return tuple(float(each) for each in found)
