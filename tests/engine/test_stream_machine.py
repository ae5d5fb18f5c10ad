"""Streams under everything at once: readers come, lag, are cut and come back, and the log forgets its beginning.

A generation brings tokens, a run texts and values in any mixture; readers are the same.
"""

import time
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jupyter_streaminfer.engine import Cursor, Stream
from jupyter_streaminfer.protocol import (
    Attached,
    Delta,
    Event,
    Generate,
    Notice,
    Partial,
    Run,
    StreaminferError,
)

WINDOW = 12
MAX_BYTES = 1500


@dataclass
class Reader:
    """What a client keeps of a stream between connections: all that it was sent, put together."""

    attached: Attached
    cursor: Cursor | None
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    after: int = -1
    tokens_missed: int = 0
    values: list[bytes] = field(default_factory=list)
    values_missed: int = 0
    times: int = 0
    terminal: Event | None = None
    notices: list[Notice] = field(default_factory=list)

    def begin(self) -> None:
        """Take in how the reading begins: whole, or from a snapshot of what is no longer kept."""
        if self.attached.recovered:
            assert self.attached.snapshot is None
            return
        assert self.attached.snapshot is not None
        self.text = self.attached.snapshot.text
        self.tokens_missed = self.attached.snapshot.tokens
        self.token_ids = []
        self.values_missed = self.attached.snapshot.values
        self.values = []
        self.times = 0
        self.after = self.attached.floor - 1

    def read(self) -> None:
        assert self.cursor is not None
        self.notices += self.cursor.take_notices()
        for event in self.cursor.take():
            assert self.terminal is None, "something after the end"
            assert event.seq == self.after + 1, "a gap or a repeat"
            if isinstance(event, Delta):
                self.after = event.seq if event.last is None else event.last
                self.text += event.text
                self.token_ids += event.token_ids
                self.times += len(event.at_ms)
            elif isinstance(event, Partial):
                self.after = event.seq
                self.values.append(bytes(event.value))
                self.times += 1
            else:
                self.after = event.seq
                self.terminal = event


class Machine(RuleBasedStateMachine):
    """One stream, the text that it should have, and its readers."""

    @initialize(detached=st.booleans(), runs=st.booleans())
    def begin(self, detached: bool, runs: bool) -> None:
        request: Generate | Run = Generate("g", "m", prompt="x", detached=detached)
        if runs:
            request = Run("r", "m", msgspec.Raw(b"[]"), detached=detached)
        self.runs = runs
        self.stream = Stream("st_1", request, "1", time.monotonic(), window_tokens=WINDOW, max_bytes=MAX_BYTES)
        self.pauses: list[bool] = []
        self.stream.on_pause = lambda stream: self.pauses.append(stream.paused)
        self.text = ""
        self.token_ids: list[int] = []
        self.values: list[bytes] = []
        self.tokens = 0
        self.readers: list[Reader] = []

    def attach(self, after: int, *, snapshot: bool) -> Reader:
        cursor = self.stream.cursor(after, self.stream.epoch, snapshot=snapshot)
        reader = Reader(cursor.attached("a"), cursor, after=after)
        reader.begin()
        return reader

    @precondition(lambda self: not self.stream.closed and not self.runs)
    @rule(token_ids=st.lists(st.integers(0, 99), max_size=5), text=st.text(max_size=20))
    def append(self, token_ids: list[int], text: str) -> None:
        self.stream.append(token_ids, text)
        self.text += text
        self.token_ids += token_ids
        self.tokens += len(token_ids)

    @precondition(lambda self: not self.stream.closed and self.runs)
    @rule(text=st.text(max_size=20))
    def yield_text(self, text: str) -> None:
        if self.add(text):
            self.text += text

    @precondition(lambda self: not self.stream.closed and self.runs)
    @rule(size=st.integers(0, 3000) | st.integers(0, 9))
    def yield_value(self, size: int) -> None:
        value = b"[%b]" % (b"1" * (size + 1))
        if self.add(msgspec.Raw(value)):
            self.values.append(value)

    def add(self, entry: str | msgspec.Raw) -> bool:
        """Whether there was room for it: for texts it ends some day."""
        if len(self.text) - len("".join(self.kept_texts())) > MAX_BYTES // 2:
            with pytest.raises(StreaminferError) as refused:
                self.stream.add(entry)
            assert refused.value.code == "too_large"
            return False
        self.stream.add(entry)
        self.tokens += 1
        return True

    def kept_texts(self) -> list[str]:
        """Those that can still be read one by one."""
        stream = self.stream
        events = stream.events(stream.floor, stream.deltas - 1) if stream.floor < stream.deltas else []
        return [event.text for event in events if isinstance(event, Delta)]

    @rule()
    def come_late(self) -> None:
        self.readers.append(self.attach(-1, snapshot=True))

    @rule()
    def come_late_for_all_of_it(self) -> None:
        if self.stream.floor:
            with pytest.raises(StreaminferError) as refused:
                self.attach(-1, snapshot=False)
            assert (refused.value.code, refused.value.field) == ("expired", "after")
        else:
            self.readers.append(self.attach(-1, snapshot=False))

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        reader = self.pick(data, connected=True)
        if reader is None:
            return
        if reader.after + 1 < self.stream.floor and reader.after + 1 < self.stream.deltas:
            with pytest.raises(StreaminferError) as refused:
                reader.read()
            assert refused.value.code == "expired"
            self.cut(reader)
        else:
            reader.read()

    @rule(data=st.data())
    def lose_the_connection(self, data: st.DataObject) -> None:
        if (reader := self.pick(data, connected=True)) is not None:
            self.cut(reader)

    @rule(data=st.data())
    def come_back(self, data: st.DataObject) -> None:
        reader = self.pick(data, connected=False)
        if reader is None:
            return
        before = reader.text
        cursor = self.stream.cursor(reader.after, self.stream.epoch, snapshot=True)
        reader.cursor, reader.attached = cursor, cursor.attached("a")
        assert reader.attached.recovered == (reader.after + 1 >= self.stream.floor)
        reader.begin()
        assert reader.text.startswith(before)

    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        reader = self.pick(data, connected=True)
        if reader is not None and reader.cursor is not None and reader.after >= 0:
            reader.cursor.acknowledge(data.draw(st.integers(0, reader.after)))

    @precondition(lambda self: not self.stream.closed)
    @rule(how=st.sampled_from(["complete", "cancel", "stop_short"]))
    def end(self, how: str) -> None:
        {
            "complete": lambda: self.stream.complete("stop"),
            "cancel": lambda: self.stream.cancel("client"),
            "stop_short": lambda: self.stream.stop_short("deadline"),
        }[how]()
        self.stream.complete("length")  # a second end changes nothing

    @rule()
    def attach_beyond_the_end(self) -> None:
        for after, epoch in ((self.stream.head, self.stream.epoch), (-1, "another")):
            with pytest.raises(StreaminferError):
                self.stream.cursor(after, epoch)

    def pick(self, data: st.DataObject, *, connected: bool) -> Reader | None:
        those = [reader for reader in self.readers if (reader.cursor is not None) == connected]
        return data.draw(st.sampled_from(those)) if those else None

    def cut(self, reader: Reader) -> None:
        assert reader.cursor is not None
        reader.cursor.close()
        reader.cursor = None

    @invariant()
    def every_reader_has_a_prefix_of_the_truth(self) -> None:
        if not hasattr(self, "stream"):
            return
        assert self.stream.text == self.text
        assert self.stream.delivered == self.token_ids
        for reader in self.readers:
            assert self.text.startswith(reader.text)
            if not self.runs:
                assert self.token_ids[reader.tokens_missed :][: len(reader.token_ids)] == reader.token_ids
            assert self.values[reader.values_missed :][: len(reader.values)] == reader.values
            if reader.terminal is not None:
                assert reader.terminal is self.stream.terminal
                assert reader.text == self.text
                assert self.runs or reader.token_ids == self.token_ids[reader.tokens_missed :]
                assert reader.values == self.values[reader.values_missed :]
                assert reader.times == self.tokens - reader.tokens_missed

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        if hasattr(self, "stream"):
            longest = max(map(len, self.values), default=0)
            bound = MAX_BYTES + 24 * len(self.token_ids) + len(self.text) + 64
            assert self.stream.log.nbytes <= (MAX_BYTES + 2 * (longest + 200) if self.runs else bound)

    @invariant()
    def it_waits_only_when_all_lag(self) -> None:
        if not hasattr(self, "stream"):
            return
        lags = [reader.cursor.lag for reader in self.readers if reader.cursor is not None]
        if self.stream.paused:
            assert not self.stream.request.detached
            assert all(lag > WINDOW / 2 for lag in lags)
        assert self.pauses == [index % 2 == 0 for index in range(len(self.pauses))] or self.stream.closed

    def teardown(self) -> None:
        """Whoever comes back at the end gets everything."""
        if not hasattr(self, "stream"):
            return
        self.stream.complete("stop")
        for reader in self.readers:
            if reader.cursor is not None:
                self.cut(reader)
            reader.cursor = self.stream.cursor(reader.after, self.stream.epoch, snapshot=True)
            reader.attached = reader.cursor.attached("a")
            reader.begin()
            reader.read()
            assert reader.text == self.text
            assert self.values[reader.values_missed :] == reader.values
            assert reader.terminal is self.stream.terminal


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=40)
