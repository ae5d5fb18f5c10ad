"""The widget that shows what several models make of one prompt."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets

from jupyter_streaminfer.client import Client, ClientStream
from jupyter_streaminfer.protocol import Generate, StreaminferError
from jupyter_streaminfer.widgets.asking import as_json, generate_request, in_background, in_parallel, refused
from jupyter_streaminfer.widgets.bundle import text_bundle
from jupyter_streaminfer.widgets.mirror import Mirror
from jupyter_streaminfer.widgets.reach import page_reaches_engine
from jupyter_streaminfer.widgets.saved import SavedView
from jupyter_streaminfer.widgets.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

STATIC = Path(__file__).parent / "static"
MAX_COLUMNS = 16
SETTLE_S = 60.0
VARIED = ("temperature", "seed")
"""Options of which there may be several."""
FIGURES = ("tokens", "ttft_ms", "itl_p50_ms", "itl_p95_ms", "tokens_per_s")


class Compare(SavedView):
    """One prompt and its answers side by side, started together: by several models or versions, or with several
    temperatures or seeds. Each has its figures and can be stopped.
    """

    _esm = STATIC / "compare.js"
    _css = STATIC / "compare.css"

    prompt = traitlets.Unicode().tag(sync=True)
    columns = traitlets.List(traitlets.Dict()).tag(sync=True)
    """``model`` and, where there are several, ``temperature`` and ``seed`` of each answer."""
    answers = traitlets.List(traitlets.Dict()).tag(sync=True)
    """The `Snapshot` of each answer."""
    server = traitlets.Bool().tag(sync=True)
    """Whether the server of the page has the models."""
    direct = traitlets.Bool().tag(sync=True)
    """Set by a page that reads answers by itself."""

    def __init__(self, client: Client, prompt: str, models: str | Sequence[str], **options: Any) -> None:
        """``models``: names or ``name@version``. ``options`` are those of `Client.generate`; ``temperature`` and
        ``seed`` may be lists: every model answers with each. At most `MAX_COLUMNS` answers.

        Raises `StreaminferError` where an option is wrong, or every answer is refused; a column says why it alone is.
        """
        self._client = client
        self._columns, requests = _plan(prompt, [models] if isinstance(models, str) else list(models), options)
        self._changing = threading.RLock()
        self._shown: list[ClientStream | None] = [None] * len(requests)
        self._mirrors: list[Mirror | None] = [None] * len(requests)
        self._versions: dict[str, str] = {}
        started = in_parallel(self._begin, requests)
        errors = [each for each in started if isinstance(each, Exception)]
        if len(errors) == len(started):
            raise errors[0]
        answers = [refused(each) if isinstance(each, Exception) else Snapshot.of(each) for each in started]
        self._requests = requests
        super().__init__(
            prompt=prompt,
            columns=self._columns,
            answers=[self._as_json(place, snapshot) for place, snapshot in enumerate(answers)],
            server=page_reaches_engine(client),
        )
        self.on_msg(self._receive)
        for place, stream in enumerate(started):
            if isinstance(stream, ClientStream):
                self._follow(place, stream)

    @property
    def streams(self) -> list[ClientStream | None]:
        """The stream of each answer; None where it was refused."""
        return list(self._shown)

    def stop(self) -> None:
        """End every answer that is still coming."""
        for stream in self._shown:
            if stream is not None:
                stream.cancel(wait=False)

    def to_frame(self) -> pd.DataFrame:
        """A row for each answer as far as it is: ``model``, ``version``, what was varied, ``state``, ``text``,
        ``tokens``, ``ttft_ms``, ``itl_p50_ms``, ``itl_p95_ms``, ``tokens_per_s``.
        """
        import pandas as pd

        self._look_up_versions()
        rows = []
        for column, stream, answer in zip(self._columns, self._shown, self.answers, strict=True):
            fields = answer if stream is None else Snapshot.of(stream).as_json()
            figures = fields["figures"]
            rows.append(
                {
                    "model": column["model"].partition("@")[0],
                    "version": None if stream is None else self._versions.get(stream.id),
                    **{name: column[name] for name in VARIED if name in column},
                    "state": fields["state"],
                    "text": fields["text"],
                    **{name: figures[name] for name in FIGURES},
                }
            )
        return pd.DataFrame(rows)

    def text(self) -> str:
        """The prompt, and each answer after its name."""
        parts = [self.prompt]
        for column, snapshot in zip(self._columns, self._snapshots(), strict=True):
            parts.append(f"{_title(column)}\n{text_bundle(snapshot)['text/plain']}")
        return "\n\n".join(parts)

    def html(self) -> str:
        """The same as a table."""
        columns = zip(self._columns, self._snapshots(), strict=True)
        rows = "".join(
            f'<tr><th scope="row" style="text-align: left; vertical-align: top">{html.escape(_title(column))}</th>'
            f'<td style="text-align: left">{text_bundle(snapshot)["text/html"]}</td></tr>'
            for column, snapshot in columns
        )
        return f"<table><caption>{html.escape(self.prompt)}</caption>{rows}</table>"

    def settle(self) -> None:
        """Wait for the answers, at most `SETTLE_S` for each."""
        for stream in self._shown:
            if stream is not None:
                with suppress(StreaminferError, TimeoutError):
                    stream.wait(SETTLE_S)

    def _snapshots(self) -> list[Snapshot]:
        return [
            Snapshot.of(stream) if stream is not None else refused(StreaminferError(**_error(answer)))
            for stream, answer in zip(self._shown, self.answers, strict=True)
        ]

    def _begin(self, request: Generate) -> ClientStream:
        return self._client._start([request])[0]

    def _follow(self, place: int, stream: ClientStream) -> None:
        if (before := self._mirrors[place]) is not None:
            before.close()
        self._shown[place] = stream
        share = len(self._shown)
        self._mirrors[place] = Mirror(stream, partial(self._put, place), quiet=lambda: self.direct, share=share)

    def _put(self, place: int, snapshot: Snapshot) -> None:
        """Tell the page of an answer. Called on the client's I/O thread."""
        answer = self._as_json(place, snapshot)
        with self._changing:
            self.answers = [*self.answers[:place], answer, *self.answers[place + 1 :]]
        if all(stream is None or stream.done for stream in self._shown):
            in_background(self.keep)

    def _as_json(self, place: int, snapshot: Snapshot) -> dict[str, Any]:
        """With the request also where the stream was attached to, or never began: for Retry."""
        return snapshot.as_json() | {"request": as_json(self._requests[place])}

    def _look_up_versions(self) -> None:
        if any(stream is not None and stream.id not in self._versions for stream in self._shown):
            with suppress(StreaminferError):
                self._versions |= {status.stream: status.version for status in self._client.streams()}

    def _receive(self, widget: object, content: dict[str, Any], buffers: object) -> None:
        """What a page asks that cannot ask the server itself, or began by itself; waits for nothing."""
        place = content.get("column")
        if not isinstance(place, int) or not 0 <= place < len(self._shown):
            return
        stream = self._shown[place]
        match content.get("type"):
            case "cancel" if stream is not None:
                stream.cancel(wait=False)
            case "retry":
                in_background(partial(self._again, place, partial(self._begin, self._requests[place])))
            case "continue" if stream is not None:
                in_background(partial(self._again, place, stream.resume))
            case "began":
                begin = partial(self._client.attach, str(content.get("stream")), snapshot=True)
                in_background(partial(self._again, place, begin))

    def _again(self, place: int, begin: Callable[[], ClientStream]) -> None:
        try:
            self._follow(place, begin())
        except StreaminferError as error:
            failed = {"state": "failed", "error": as_json(error.info), "resumable": False}
            with self._changing:
                answer = self.answers[place] | failed
                self.answers = [*self.answers[:place], answer, *self.answers[place + 1 :]]


def _plan(
    prompt: str, models: Sequence[str], options: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[Generate]]:
    """What each column is called, and what it asks."""
    varied = {name: list(options[name]) for name in VARIED if isinstance(options.get(name), Sequence)}
    columns = [
        {"model": model, **dict(zip(varied, values, strict=True))}
        for model in models
        for values in product(*varied.values())
    ]
    if not 1 <= len(columns) <= MAX_COLUMNS:
        raise StreaminferError(
            "invalid_request",
            f"1 to {MAX_COLUMNS} answers can be compared, not {len(columns)}: models times temperatures times seeds.",
            field="models",
        )
    requests = [
        generate_request(column["model"], {**options, **{name: column[name] for name in varied}}, prompt=prompt)
        for column in columns
    ]
    return columns, requests


def _title(column: Mapping[str, Any]) -> str:
    return ", ".join([column["model"], *(f"{name} {column[name]}" for name in VARIED if name in column)])


def _error(answer: Mapping[str, Any]) -> dict[str, Any]:
    error = answer["error"]
    return {"code": error["code"], "message": error["message"]}
