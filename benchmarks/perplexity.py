"""What shorter weights cost in exactness: the held-out perplexity of ``demo`` with each dtype.

``python benchmarks/perplexity.py``: per token, over the documents that the training of ``demo`` never saw, each from
the start token; kept in ``results/perplexity.json``.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from figures import keep

import jupyter_streaminfer
from jupyter_streaminfer.inference.generator import Generator
from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.protocol import Score, ScoredTexts, ScoreJob

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
from corpus import documents

DEMO = Path(jupyter_streaminfer.__file__).parent / "models" / "demo"


def perplexity(runtime: Generator, texts: list[list[int]], start: int) -> float:
    """Per token of the texts, each on its own after the start token."""
    loss = 0.0
    for index, token_ids in enumerate(texts):
        request = Score(str(index), "", [start], [token_ids])
        refused = runtime.submit(ScoreJob(str(index), request))
        assert refused is None, refused
        while runtime.due_in() is not None:
            for event in runtime.step():
                assert isinstance(event, ScoredTexts), event
                loss -= event.scores[0].logprob
    return math.exp(loss / sum(map(len, texts)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1000, help="held-out documents to read")
    options = parser.parse_args()
    held = [document for document in documents() if document.held_out][: options.documents]
    found = {}
    for dtype in ("float32", "bfloat16", "int8"):
        runtime = load_runtime(DEMO, dtype=dtype, threads=2)
        assert isinstance(runtime, Generator)
        room = runtime.intake.context_length - 1
        texts = [runtime.tokenizer.encode(document.text, special=False)[:room] for document in held]
        start = runtime.tokenizer.backend.token_to_id(runtime.tokenizer.special_tokens["bos_token"])
        found[dtype] = {
            "perplexity": round(perplexity(runtime, texts, start), 4),
            "weight_bytes": runtime.info.weight_bytes,
            "runner": runtime.info.runner,
        }
    print(keep("perplexity", {"documents": len(held), "tokens": sum(map(len, texts)), **found}))


if __name__ == "__main__":
    main()
