"""OpenAI's own client of a real server, whose model has a chat template."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from openai import AsyncOpenAI
from tiny_models import ENDLESS

from jupyter_streaminfer.engine import Engine, Stream
from jupyter_streaminfer.protocol import Generate

from ..conftest import TIMEOUT_S

GREEDY: dict[str, Any] = {"model": "tiny", "temperature": 0, "extra_body": {"ignore_eos": True}}
PROMPT = {**GREEDY, "prompt": "a b"}
HELLO = {**GREEDY, "messages": [{"role": "user", "content": "Hello"}]}
LONG = ENDLESS


TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


@pytest.fixture
async def openai(app, jp_serverapp, jp_http_port: int, jp_base_url: str, http_server) -> AsyncIterator[AsyncOpenAI]:
    """A client that is given the server's token as its key, which it sends as a bearer's."""
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}streaminfer/v1"
    async with AsyncOpenAI(base_url=url, api_key=jp_serverapp.identity_provider.token, max_retries=0) as client:
        yield client


@pytest.fixture
def long_llama(long_llama: Path, tmp_path: Path) -> Path:
    """With a chat template."""
    folder = copytree(long_llama, tmp_path / "chatty")
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


class Spy:
    """The streams that an engine starts from now on."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[Stream] = []
        self._generate = engine.generate
        self._more = asyncio.Condition()
        monkeypatch.setattr(engine, "generate", self.generate)

    async def generate(self, request: Generate, client: str = "") -> Stream:
        stream = await self._generate(request, client)
        async with self._more:
            self.streams.append(stream)
            self._more.notify_all()
        return stream

    async def started(self, count: int) -> None:
        async with asyncio.timeout(TIMEOUT_S), self._more:
            await self._more.wait_for(lambda: len(self.streams) == count)


async def ends(stream: Stream) -> Any:
    """A stream's terminal event."""
    async with asyncio.timeout(TIMEOUT_S), stream.cursor() as cursor:
        return [event async for event in cursor][-1]
