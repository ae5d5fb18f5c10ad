"""What a client may get wrong: each costs that one request, and nothing else."""

import json
import math
from collections.abc import Callable

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine
from jupyter_streaminfer.protocol import MAX_MESSAGE_BYTES, MAX_PROMPT_CHARACTERS

TEXT, BINARY = 0x1, 0x2


@pytest.fixture(params=["tornado", "picows"])
def frames(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def generate(**fields: object) -> bytes:
    return json.dumps({"type": "generate", "id": "bad", "model": "tiny", "prompt": "a", **fields}).encode()


# The frame's opcode, the frame, then what the error must have: code, id, field, and words of its message.
BAD: dict[str, tuple[int, Callable[[], bytes], str, str | None, str | None, str]] = {
    "unknown type": (
        TEXT,
        lambda: b'{"type":"generat","id":"bad"}',
        "invalid_request",
        "bad",
        "type",
        "one of: generate",
    ),
    "no type": (TEXT, lambda: b'{"id":"bad"}', "invalid_request", "bad", "type", "one of: generate"),
    "no id": (TEXT, lambda: b'{"type":"ping"}', "invalid_request", None, "id", "id"),
    "wrong type of id": (TEXT, lambda: b'{"type":"ping","id":7}', "invalid_request", None, "id", "str"),
    "empty id": (TEXT, lambda: b'{"type":"ping","id":""}', "invalid_request", None, "id", ">= 1"),
    "unknown field": (TEXT, lambda: generate(max_token=5), "invalid_request", "bad", "max_token", "spelling"),
    "wrong type": (TEXT, lambda: generate(prompt=5), "invalid_request", "bad", "prompt", "str"),
    "empty prompt": (TEXT, lambda: generate(prompt=""), "invalid_request", "bad", "prompt", "prompt"),
    "no prompt": (TEXT, lambda: generate(prompt=None), "invalid_request", "bad", "prompt", "prompt"),
    "over-long prompt": (
        TEXT,
        lambda: generate(prompt="a" * (MAX_PROMPT_CHARACTERS + 1)),
        "invalid_request",
        "bad",
        "prompt",
        str(MAX_PROMPT_CHARACTERS),
    ),
    "prompt beyond the context": (
        TEXT,
        lambda: generate(prompt="a b " * 200_000),
        "invalid_request",
        "bad",
        "prompt",
        "250000",
    ),
    "max_tokens 0": (TEXT, lambda: generate(max_tokens=0), "invalid_request", "bad", "max_tokens", ">= 1"),
    "max_tokens 1e9": (TEXT, lambda: generate(max_tokens=10**9), "invalid_request", "bad", "max_tokens", "1000000"),
    "temperature NaN": (
        TEXT,
        lambda: generate(temperature=math.nan),
        "invalid_request",
        "bad",
        "temperature",
        "finite",
    ),
    "temperature -1": (TEXT, lambda: generate(temperature=-1), "invalid_request", "bad", "temperature", ">= 0"),
    "inputs Infinity": (
        TEXT,
        lambda: b'{"type":"predict","id":"bad","model":"digits","inputs":[[1,[Infinity]]]}',
        "invalid_request",
        "bad",
        "inputs",
        "finite",
    ),
    "wrong shape": (
        TEXT,
        lambda: b'{"type":"predict","id":"bad","model":"digits","inputs":[[1.0,2.0]]}',
        "invalid_request",
        "bad",
        "inputs",
        "64",
    ),
    "nested too deeply": (
        TEXT,
        lambda: b'{"type":"predict","id":"bad","model":"digits","inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        "invalid_request",
        None,
        None,
        "deeply",
    ),
    "unknown model": (TEXT, lambda: generate(model="nope"), "model_not_found", "bad", "model", "nope"),
    "unknown stream": (
        TEXT,
        lambda: b'{"type":"attach","id":"bad","stream":"st_never"}',
        "stream_not_found",
        "bad",
        "stream",
        "st_never",
    ),
    "cancel of an unknown stream": (
        TEXT,
        lambda: b'{"type":"cancel","id":"bad","stream":"st_never"}',
        "stream_not_found",
        "bad",
        "stream",
        "st_never",
    ),
    "duplicate id": (TEXT, lambda: b'{"type":"ping","id":"running"}', "invalid_request", "running", "id", "under way"),
    "20 MB": (
        TEXT,
        lambda: generate(prompt="a" * 20_000_000),
        "too_large",
        "bad",
        None,
        str(MAX_MESSAGE_BYTES),
    ),
    "20 MB without an id at its head": (
        TEXT,
        lambda: b'{"prompt":"' + b"a" * 20_000_000 + b'","id":"bad"}',
        "too_large",
        None,
        None,
        str(MAX_MESSAGE_BYTES),
    ),
    "broken JSON": (TEXT, lambda: b'{"type":"ping","id":"bad"', "invalid_request", None, None, "not JSON"),
    "empty frame": (TEXT, lambda: b"", "invalid_request", None, None, "not JSON"),
    "no object": (TEXT, lambda: b"[1]", "invalid_request", None, None, "object"),
    "lone surrogate": (TEXT, lambda: b'{"type":"ping","id":"\\ud800"}', "invalid_request", None, None, "not JSON"),
    "endless integer": (
        TEXT,
        lambda: generate(max_tokens=1).replace(b"1}", b"9" * 5000 + b"}"),
        "invalid_request",
        None,
        "max_tokens",
        "out of range",
    ),
    "invalid UTF-8": (TEXT, lambda: b'{"type":"ping","id":"\xff"}', "invalid_request", None, None, "UTF-8"),
    "binary frame": (BINARY, lambda: b'{"type":"ping","id":"bad"}', "invalid_request", None, None, "text frame"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_request_costs_only_itself(engine: Engine, connect, name: str) -> None:
    opcode, frame, code, id, field, words = BAD[name]
    socket = await connect()
    socket.send(
        type="generate", id="running", model="tiny", prompt="a", max_tokens=ENDLESS, temperature=0, ignore_eos=True
    )
    before = await socket.receive_until(lambda message: message["type"] == "delta")

    await socket.connection.protocol._write_frame(True, opcode, frame())
    before += await socket.receive_until(lambda message: message["type"] == "error")
    error = before.pop()
    after = await socket.receive_until(lambda message: message["type"] == "delta")
    socket.send(type="cancel", id="c", stream=after[-1]["stream"])
    after += await socket.receive_until(lambda message: message["type"] == "cancelled")

    assert (error["code"], error.get("id"), error.get("field")) == (code, id, field), error
    assert words in error["message"]
    assert error["retryable"] is False
    assert set(error) <= {"type", "code", "message", "retryable", "id", "field", "retry_after_ms"}
    deltas = [message for message in before + after if message["type"] == "delta"]
    seqs = [seq for delta in deltas for seq in range(delta["seq"], delta.get("last", delta["seq"]) + 1)]
    assert seqs == list(range(after[-1]["seq"]))
    stream = engine.stream(after[-1]["stream"])
    assert sum(len(delta["token_ids"]) for delta in deltas) == stream.log.tokens
    assert "".join(delta["text"] for delta in deltas) == stream.text
    assert await socket.ask(type="ping", id="p") == {"type": "pong", "id": "p"}


async def test_a_text_frame_that_is_not_utf8_does_not_end_the_connection(engine: Engine, connect) -> None:
    """Tornado decodes text frames before any handler sees them and drops the whole connection, and every
    stream on it, where one is not UTF-8. `TornadoFrames` overrides a private method of Tornado's to
    prevent that; a Tornado that renames it would silently bring the old behaviour back.
    """
    socket = await connect()
    await socket.connection.protocol._write_frame(True, TEXT, b"\xff\xfe")
    assert (await socket.receive())["type"] == "error"
    assert (await socket.ask(type="ping", id="p"))["type"] == "pong"


async def test_a_fragmented_text_frame_is_one_request(connect) -> None:
    socket = await connect()
    await socket.connection.protocol._write_frame(False, TEXT, b'{"type":"ping",')
    await socket.connection.protocol._write_frame(True, 0x0, b'"id":"p"}')
    assert await socket.receive() == {"type": "pong", "id": "p"}
