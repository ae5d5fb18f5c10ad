"""Small random models, built by the tests that need one: real architectures, real files, no meaning."""

from __future__ import annotations

from pathlib import Path

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
