"""Small random models, built by the tests that need one: real architectures, real files, no meaning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

ENDLESS = 200_000
"""New tokens that `long_llama` takes many minutes for, on any machine: for streams that must still run when looked at.

With fewer, some tests held on slow machines alone: on a fast one the stream was complete before it was cancelled.
"""

SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>"]
SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Streams belong to the server, not to a socket.",
    "naïve café, 日本語, emoji 🙂🙃",
]


def build_tokenizer(folder: Path, vocabulary: int = 512) -> int:
    """Write a byte-level BPE tokenizer into the folder; returns the size of its vocabulary."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(SENTENCES * 20, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    fast.save_pretrained(folder)
    return len(fast)


def build_llama(folder: Path, *, seed: int = 0, **changes: object) -> Path:
    """Write a random Llama with a tokenizer into the folder; ``changes`` are fields of its config."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {
        "vocab_size": build_tokenizer(folder),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "initializer_range": 0.2,
        **changes,
    }
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**settings)).save_pretrained(folder)
    return folder


def build_causal(folder: Path, config: PreTrainedConfig, *, seed: int = 0, dtype: str = "float32") -> Path:
    """Write a random model of the config's family, without a tokenizer, into the folder.

    Norms and biases are random too: ones and zeros would hide one that is left out.
    """
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.2)
            elif parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder
