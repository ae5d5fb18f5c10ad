"""Small random encoders as folders, and what asks them: built by the tests that need one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers
from predicting import predict_job
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from jupyter_streaminfer.inference.load import load_runtime
from jupyter_streaminfer.inference.predictor import Predictor
from jupyter_streaminfer.protocol import ErrorInfo, JobFailed, Predicted, Rejected

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [
    *(
        "anna",
        "paul",
        "lives",
        "works",
        "in",
        "at",
        "berlin",
        "paris",
        "for",
        "acme",
        "the",
        "a",
        "and",
        "walk",
        "talk",
    ),
    *(".", ",", "##s", "##ed", "##ing"),
]
VOCABULARY = len(SPECIAL) + len(WORDS)
LIMIT = 64
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
    "initializer_range": 0.4,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", {**SIZES, "max_position_embeddings": LIMIT}),
    "distilbert": (
        "DistilBert",
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 48,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": LIMIT,
            "initializer_range": 0.4,
        },
    ),
    "roberta": ("Roberta", {**SIZES, "max_position_embeddings": LIMIT + 2, "pad_token_id": 1}),
    "modernbert": (
        "ModernBert",
        {**SIZES, "max_position_embeddings": LIMIT, "pad_token_id": 0, "local_attention": 8, "embedding_dropout": 0.0},
    ),
}


def build_tokenizer(folder: Path) -> None:
    """Write a WordPiece tokenizer of a few words, with BERT's special tokens around each text."""
    vocabulary = {piece: index for index, piece in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)


def build_encoder(folder: Path, family: str, head: str, *, seed: int = 0, **changes: Any) -> Path:
    """Write a random model: ``head`` is ``Model``, ``ForSequenceClassification``, ...; ``changes`` of its config."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tokenizer(folder)
    name, settings = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**{**settings, **changes})
    torch.manual_seed(seed)
    getattr(transformers, f"{name}{head}")(config).save_pretrained(folder)
    return folder


def load_predictor(path: Path, **options: Any) -> Predictor:
    """The predictor of what is there; batches go at once."""
    runtime = load_runtime(path, **{"max_batch_size": 64, "max_wait_ms": 0.0, **options})
    assert isinstance(runtime, Predictor)
    return runtime


def answer(predictor: Predictor, inputs: Any) -> Any:
    """The outputs of one request, or the `ErrorInfo` that it got."""
    rejected = predictor.submit(predict_job("job", inputs))
    if isinstance(rejected, Rejected):
        return rejected.error
    return run(predictor)["job"]


def run(predictor: Predictor) -> dict[str, Any]:
    """Step until nothing is left; the outputs, or the `ErrorInfo`, of each job."""
    found: dict[str, Any] = {}
    while predictor.due_in() is not None:
        for event in predictor.step():
            assert isinstance(event, Predicted | JobFailed)
            found[event.job] = msgspec.json.decode(event.outputs) if isinstance(event, Predicted) else event.error
    return found


def refused(predictor: Predictor, inputs: Any) -> str:
    """Why a request is refused."""
    error = answer(predictor, inputs)
    assert isinstance(error, ErrorInfo), error
    return error.message


def company(predictor: Predictor, rows: list[Any]) -> list[Any]:
    """The answers of requests of one row each that wait at the same time, in their order."""
    for index, row in enumerate(rows):
        assert predictor.submit(predict_job(f"job{index}", [row])) is None
    found = run(predictor)
    return [found[f"job{index}"][0] for index in range(len(rows))]


def texts(count: int, seed: int = 0) -> list[str]:
    """That many texts of 1 to 20 words."""
    generator = torch.Generator().manual_seed(seed)
    words = [word for word in WORDS if word.isalpha()]
    lengths = torch.randint(1, 21, (count,), generator=generator).tolist()
    return [
        " ".join(words[index] for index in torch.randint(0, len(words), (length,), generator=generator).tolist())
        for length in lengths
    ]
