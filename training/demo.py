"""Train the bundled ``demo`` language model: ``python training/demo.py``.

Reads the documents of ``corpus.py``, learns a byte-level BPE vocabulary and a small Llama-architecture
model, and writes the Hugging Face layout to ``jupyter_streaminfer/models/demo``. Needs torch,
transformers and tokenizers; about two hours on two cores. Never run by a build or a test.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import time
from pathlib import Path

import torch
from corpus import Document, documents
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BEGIN, END, USER, ASSISTANT, PAD = "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|pad|>"
SPECIAL = [PAD, BEGIN, END, USER, ASSISTANT]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|assistant|>' if message['role'] == 'assistant' else '<|user|>' }}"
    "{{ '\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)
QUESTIONS = (
    "What is {name}?",
    "Explain {name}.",
    "How do I use {name}?",
    "Tell me about {name}.",
    "What does {name} do?",
    "{name}",
)
CARD = """\
---
license: bsd-3-clause
library_name: jupyter_streaminfer
pipeline_tag: text-generation
---

# demo

A small language model that ships with jupyter_streaminfer, so that a stream can be seen at once. It writes what reads like
Python documentation. It knows nothing, and what it says about Python is invented: do not rely on a word of it.

| | |
| --- | --- |
| Architecture | Llama: {layers} layers, hidden {hidden}, {heads} heads ({kv_heads} for keys and values), tied embeddings |
| Size | {parameters:,} parameters, bfloat16, {bytes:,} bytes with its tokenizer |
| Vocabulary | byte-level BPE, {vocabulary:,} entries, learned from the same data |
| Context | {context:,} tokens |
| Chat | `<|user|>` and `<|assistant|>` turns; a system message counts as a user's |

## Data

The prose of the CPython {python} installation that trained it: `pydoc_data.topics`, the docstrings of the standard library and the
paragraphs of comments in its sources; {documents:,} documents, {characters:,} characters. A document is shown bare, under its name, or as the
answer to a question about its name. {held_out:,} documents, chosen by a hash of their text, were held out of the training and of
the tokenizer.

## Quality

Held-out perplexity {perplexity:.2f} per token, which is {bits:.3f} bits per character, of the files as they are here, over the held-out documents
as bare prose. Training saw {tokens:,} tokens ({epochs:.0f} times the data).

`The asyncio module`, seed 7, temperature 0.7, goes on:

> {sample}

## Licence

The data is part of CPython and under the PSF licence; the model and its script are BSD-3-Clause, as the rest of
jupyter_streaminfer. Made by `python training/demo.py`.
"""
LENGTH = 1024
SHORT_LENGTH = 512
SHORT_SHARE = 0.85
TOKENS_PER_STEP = 8192
WARM_STEPS = 50


def train_tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE vocabulary of ``size`` entries, learned from the training documents alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=LENGTH,
    )


def render(document: Document, draw: random.Random) -> str:
    """One of the three forms in which a document is shown: bare prose, under its name, or as an answer."""
    form = draw.random()
    if form < 0.35:
        return f"{BEGIN}{document.text}{END}\n"
    if form < 0.65:
        return f"{BEGIN}{document.plain}{END}\n"
    names = document.name.split(".")
    name = document.name if draw.random() < 0.5 else names[-1]
    question = draw.choice(QUESTIONS).format(name=name)
    return f"{BEGIN}{USER}\n{question}{END}\n{ASSISTANT}\n{document.text}{END}\n"


def pack(every: list[Document], tokenizer: PreTrainedTokenizerFast, draw: random.Random, length: int) -> torch.Tensor:
    """All documents in a random order as rows of token ids and the next one: ``[rows, length + 1]`` int64."""
    order = draw.sample(every, len(every))
    encoded = tokenizer([render(document, draw) for document in order], add_special_tokens=False)["input_ids"]
    ids = torch.tensor([token for row in encoded for token in row])
    rows = len(ids) // (length + 1)
    return ids[: rows * (length + 1)].view(rows, length + 1)[torch.randperm(rows)]


@torch.no_grad()
def perplexity(model: LlamaForCausalLM, held: list[Document], tokenizer: PreTrainedTokenizerFast) -> float:
    """Per token, over the held-out documents as bare prose, each on its own from the start token."""
    model.eval()
    loss, count = 0.0, 0
    for document in held:
        ids = tokenizer(f"{BEGIN}{document.text}{END}", add_special_tokens=False, return_tensors="pt")["input_ids"]
        ids = ids[:, : LENGTH + 1]
        logits = model(ids[:, :-1]).logits.float()
        loss += float(torch.nn.functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum"))
        count += ids.shape[1] - 1
    model.train()
    return math.exp(loss / count)


def build_model(vocabulary: int, dropout: float) -> LlamaForCausalLM:
    """The architecture; dropout on each residual branch exists in training only and is no part of the files."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=5,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        pad_token_id=SPECIAL.index(PAD),
        bos_token_id=SPECIAL.index(BEGIN),
        eos_token_id=SPECIAL.index(END),
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(config)

    def drop(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(output, dropout, module.training)

    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.register_forward_hook(drop)
    return model


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, facts: dict[str, object]) -> None:
    """Write the folder: bfloat16 weights, tokenizer and the figures that the model card states."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to(torch.bfloat16) for name, value in model.state_dict().items()}
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(state)
    copy.save_pretrained(folder)
    # The library writes for its owner alone; a package is read by others too.
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    (folder / "training.json").write_text(json.dumps(facts, indent=2) + "\n")


def write_card(folder: Path) -> None:
    """Measure the files in ``folder`` and write the model card."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    every = documents()
    held = [document for document in every if document.held_out]
    train = [document for document in every if not document.held_out]
    figure = perplexity(model, held, tokenizer)
    held_tokens = sum(len(tokenizer(document.text)["input_ids"]) + 1 for document in held)
    characters = sum(len(document.text) for document in train)
    facts = json.loads((folder / "training.json").read_text())
    train_tokens = sum(len(tokenizer(document.plain)["input_ids"]) for document in train)
    torch.manual_seed(7)
    prompt = tokenizer("The asyncio module", return_tensors="pt")
    sample = model.eval().generate(**prompt, max_new_tokens=90, do_sample=True, temperature=0.7)
    text = tokenizer.decode(sample[0][prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    card = CARD.format(
        layers=model.config.num_hidden_layers,
        hidden=model.config.hidden_size,
        heads=model.config.num_attention_heads,
        kv_heads=model.config.num_key_value_heads,
        parameters=facts["parameters"],
        bytes=sum(path.stat().st_size for path in folder.iterdir() if path.name != "README.md"),
        vocabulary=len(tokenizer),
        context=LENGTH,
        python=platform.python_version(),
        documents=len(train),
        characters=characters,
        held_out=len(held),
        perplexity=figure,
        bits=math.log2(figure) * held_tokens / sum(len(document.text) for document in held),
        tokens=facts["tokens_seen"],
        epochs=facts["tokens_seen"] / train_tokens,
        sample=text.strip().replace("\n", "\n> "),
    )
    (folder / "README.md").write_text(card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).parents[1] / "jupyter_streaminfer" / "models" / "demo"
    parser.add_argument("--output", type=Path, default=default)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--dropout", type=float, default=0.15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--resume", action="store_true", help="go on from the output folder's step; the optimizer's moments begin anew"
    )
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    draw = random.Random(0)
    every = documents()
    held = [document for document in every if document.held_out]
    train = [document for document in every if not document.held_out]
    tokenizer = train_tokenizer([document.plain for document in train], options.vocabulary)
    model = build_model(len(tokenizer), options.dropout)
    parameters = sum(p.numel() for p in model.parameters())
    done, best = 0, math.inf
    if options.resume:
        facts = json.loads((options.output / "training.json").read_text())
        done, best = facts["step"], facts["held_out_perplexity"]
        model.load_state_dict(LlamaForCausalLM.from_pretrained(options.output, dtype=torch.float32).state_dict())
        draw.seed(done)
    print(f"{len(train)} documents, {parameters:,} parameters, from step {done}", flush=True)

    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=options.rate,
        betas=(0.9, 0.95),
    )

    def rate(step: int) -> float:
        """Linear over the first steps (of a resumed run too), then a cosine down to 2 % of the peak."""
        cosine = 0.5 * (1 + math.cos(math.pi * min(1, (done + step) / options.steps)))
        return min((step + 1) / WARM_STEPS, 0.02 + 0.98 * cosine)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    rows = torch.empty(0, SHORT_LENGTH + 1, dtype=torch.long)
    started, mean = time.monotonic(), 0.0
    for step in range(done + 1, options.steps + 1):
        length = SHORT_LENGTH if step <= SHORT_SHARE * options.steps else LENGTH
        size = TOKENS_PER_STEP // length
        if len(rows) < size or rows.shape[1] != length + 1:
            rows = pack(train, tokenizer, draw, length)
        batch, rows = rows[:size], rows[size:]
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mean = loss.item() if not mean else 0.95 * mean + 0.05 * loss.item()
        if step % 10 == 0:
            print(f"step {step} loss {mean:.3f} {time.monotonic() - started:.0f} s", flush=True)
        if step % 100 == 0 or step == options.steps:
            figure = perplexity(model, held, tokenizer)
            print(f"step {step} held-out perplexity {figure:.2f}", flush=True)
            if figure < best:
                best = figure
                characters = sum(len(document.text) for document in train)
                save(
                    model,
                    tokenizer,
                    options.output,
                    {
                        "parameters": parameters,
                        "training_documents": len(train),
                        "training_characters": characters,
                        "held_out_documents": len(held),
                        "held_out_perplexity": round(figure, 2),
                        "step": step,
                        "steps": options.steps,
                        "tokens_seen": step * TOKENS_PER_STEP,
                    },
                )
    write_card(options.output)


if __name__ == "__main__":
    main()
