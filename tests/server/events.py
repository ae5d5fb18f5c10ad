"""A client's end of server-sent events, parsed as the standard says, over a bare HTTP/1.0 connection."""

import asyncio
import json
from typing import Any, NamedTuple

from .conftest import TIMEOUT_S


class ServerEvent(NamedTuple):
    """One event; ``id`` is what a browser would come back with."""

    id: str | None
    type: str
    data: dict[str, Any]


class Events:
    """An open response, its status and headers, and the comments that came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        self._reader, self._writer = reader, writer
        status, *lines = head.strip().split("\r\n")
        self.status = int(status.split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.comments: list[str] = []

    @classmethod
    async def open(cls, port: int, path: str, **headers: str) -> "Events":
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "127.0.0.1", **headers}.items()]
        writer.write("\r\n".join([f"GET {path} HTTP/1.0", *lines, "", ""]).encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), TIMEOUT_S)
        return cls(reader, writer, head.decode())

    async def receive(self, *, comments: int | None = None) -> ServerEvent | None:
        """The next event; None at the end of the response, or as soon as there were so many comments."""
        fields: dict[str, str] = {}
        while line := (await asyncio.wait_for(self._reader.readline(), TIMEOUT_S)).decode():
            line = line.removesuffix("\n")
            if line.startswith(":"):
                self.comments.append(line)
                if len(self.comments) == comments:
                    return None
            elif line:
                name, value = line.split(": ", 1)
                assert name not in fields
                fields[name] = value
            elif fields:
                return ServerEvent(fields.get("id"), fields["event"], json.loads(fields["data"]))
        assert not fields, "cut in the middle of an event"
        return None

    async def rest(self) -> list[ServerEvent]:
        """Every event up to the end of the response."""
        events = []
        while (event := await self.receive()) is not None:
            events.append(event)
        return events

    async def error(self) -> dict[str, Any]:
        """The body of a refusal."""
        body: dict[str, Any] = json.loads(await asyncio.wait_for(self._reader.read(), TIMEOUT_S))
        return body

    def close(self) -> None:
        """Leave, without a word."""
        self._writer.transport.abort()
