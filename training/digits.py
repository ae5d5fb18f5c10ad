"""Train the bundled ``digits`` classifier: ``python training/digits.py``.

Learns scikit-learn's handwritten digits (1,797 images of 8 by 8, values 0 to 16) with a small fully connected
network, calibrates its temperature on a validation split that training never saw, and writes
``jupyter_streaminfer/models/digits`` with a model card that states the figures of the held-out split.
Needs torch and scikit-learn; about a minute on one core. Never run by a build or a test.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn.functional import cross_entropy

SEED = 0
HIDDEN = (192, 160)
SCALE = 1 / 16
EPOCHS = 300
BATCH = 64
BINS = 15
SAMPLE = 100
"""Held-out images that the quickstart classifies."""

CARD = """\
---
license: bsd-3-clause
library_name: jupyter_streaminfer
tags: [image-classification, calibrated]
---

# digits

A small classifier of handwritten digits that ships with jupyter_streaminfer, so that `predict` works at once.

| | |
| --- | --- |
| Input | 64 numbers from 0 to 16, an image of 8 by 8 row by row (or the 8 rows themselves) |
| Output | the ten digits with calibrated probabilities |
| Architecture | fully connected {sizes}, ReLU, {parameters:,} parameters, {bytes:,} bytes of float32 |
| Split | stratified, seed {seed}: {train} to train on, {validation} to calibrate on, {test} held out |

The data is scikit-learn's `load_digits`: 1,797 images, the test part of UCI's *Optical Recognition of Handwritten
Digits* (E. Alpaydin, C. Kaynak, 1998; CC BY 4.0). In training, images were shifted by up to a pixel and got some noise.

## Quality, on the {test} held-out images

| | before calibration | after |
| --- | --- | --- |
| Accuracy | {accuracy:.2%} | {accuracy:.2%} |
| Expected calibration error ({bins} bins) | {ece_before:.4f} | {ece_after:.4f} |
| Negative log likelihood | {nll_before:.4f} | {nll_after:.4f} |

The temperature, {temperature:.3f}, is the one that minimises the negative log likelihood of the validation split.
The held-out split was looked at once, for this table.

It knows tightly cropped, centred digits of this resolution and nothing else: any other image gets a digit as well.

Made by `python training/digits.py`. BSD-3-Clause, as the rest of jupyter_streaminfer.
"""


@dataclass(frozen=True)
class Split:
    """``images`` ``[N, 64]`` float32 raw values, ``labels`` ``[N]`` int64."""

    images: torch.Tensor
    labels: torch.Tensor


def splits() -> tuple[Split, Split, Split]:
    """Train, validation and held-out images, stratified with a fixed seed."""
    images, labels = load_digits(return_X_y=True)
    rest, test, rest_labels, test_labels = train_test_split(
        images, labels, test_size=360, stratify=labels, random_state=SEED
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=240, stratify=rest_labels, random_state=SEED
    )
    parts = ((train, train_labels), (validation, validation_labels), (test, test_labels))
    first, second, third = (Split(torch.tensor(x, dtype=torch.float32), torch.tensor(y)) for x, y in parts)
    return first, second, third


def augment(images: torch.Tensor) -> torch.Tensor:
    """Half of the images shifted by up to a pixel each way, all with a little noise: ``[B, 64]`` in and out."""
    grid = torch.nn.functional.pad(images.view(-1, 8, 8), (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(images), 1))
    still = torch.rand(len(images), 1) < 0.5
    down, right = (torch.where(still, torch.ones_like(shift), shift) for shift in (down, right))
    rows, columns = down + torch.arange(8), right + torch.arange(8)
    shifted = grid[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
    return (shifted.reshape(-1, 64) + torch.randn(len(images), 64) * 0.6).clamp(0, 16)


def build_model() -> torch.nn.Sequential:
    sizes = (64, *HIDDEN)
    blocks = [
        module
        for before, after in pairwise(sizes)
        for module in (torch.nn.Linear(before, after), torch.nn.ReLU(), torch.nn.Dropout(0.2))
    ]
    return torch.nn.Sequential(*blocks, torch.nn.Linear(sizes[-1], 10))


def fit(model: torch.nn.Sequential, train: Split) -> None:
    steps = EPOCHS * (len(train.labels) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(train.labels))
        for rows in order[: len(order) // BATCH * BATCH].split(BATCH):
            logits = model(augment(train.images[rows]) * SCALE)
            loss = cross_entropy(logits, train.labels[rows], label_smoothing=0.02)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()


def calibrate(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The temperature of least negative log likelihood (Guo et al., On Calibration of Modern Neural Networks, 2017)."""
    candidates = torch.logspace(-1.5, 1.0, 2001)
    return float(min(candidates, key=lambda temperature: float(cross_entropy(logits / temperature, labels))))


def calibration_error(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, over equal bins of confidence."""
    confidences, predicted = logits.softmax(-1).max(-1)
    right = (predicted == labels).float()
    bins = (confidences * BINS).long().clamp(max=BINS - 1)
    gaps = [(right[bins == i].sum() - confidences[bins == i].sum()).abs() for i in range(BINS)]
    return float(torch.stack(gaps).sum() / len(labels))


def write_sample(test: Split, path: Path) -> None:
    """The first held-out images as CSV for the quickstart: 64 pixel columns, then the digit."""
    header = ",".join([f"p{row}{column}" for row in range(8) for column in range(8)] + ["digit"])
    rows = zip(test.images[:SAMPLE].int().tolist(), test.labels[:SAMPLE].tolist(), strict=True)
    lines = [",".join(str(value) for value in (*pixels, label)) for pixels, label in rows]
    path.write_text("\n".join([header, *lines]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    root = Path(__file__).parents[1]
    default = root / "jupyter_streaminfer" / "models" / "digits"
    parser.add_argument("--output", type=Path, default=default)
    folder: Path = parser.parse_args().output

    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    train, validation, test = splits()
    write_sample(test, root / "notebooks" / "digits.csv")
    model = build_model()
    fit(model, train)
    with torch.no_grad():
        temperature = calibrate(model(validation.images * SCALE), validation.labels)
        logits = model(test.images * SCALE)
    linears = [module for module in model if isinstance(module, torch.nn.Linear)]
    tensors = {
        f"layers.{index}.{name}": value.detach().contiguous()
        for index, linear in enumerate(linears)
        for name, value in linear.named_parameters()
    }
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    # The library writes for its owner alone; a package is read by others too.
    weights.chmod(0o644)
    config = {
        "architectures": ["MlpClassifier"],
        "input_shape": [64],
        "image_shape": [8, 8],
        "input_scale": SCALE,
        "hidden_sizes": list(HIDDEN),
        "labels": [str(digit) for digit in range(10)],
        "temperature": round(temperature, 4),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    calibrated = logits / temperature
    card = CARD.format(
        sizes=" → ".join(str(size) for size in (64, *HIDDEN, 10)),
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        bytes=weights.stat().st_size,
        seed=SEED,
        train=len(train.labels),
        validation=len(validation.labels),
        test=len(test.labels),
        accuracy=float((logits.argmax(-1) == test.labels).float().mean()),
        bins=BINS,
        ece_before=calibration_error(logits, test.labels),
        ece_after=calibration_error(calibrated, test.labels),
        nll_before=float(cross_entropy(logits, test.labels)),
        nll_after=float(cross_entropy(calibrated, test.labels)),
        temperature=temperature,
    )
    (folder / "README.md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
