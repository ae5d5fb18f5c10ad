"""Lost connections, over a server that loses them and says wrong things on purpose."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_streaminfer.client import (
    Client,
    ConnectionLostError,
    NotAuthorizedError,
    connect,
    readings,
    retries,
    socket,
)
from jupyter_streaminfer.protocol import (
    Attach,
    Attached,
    Cancel,
    Completed,
    Continue,
    Delta,
    Error,
    ErrorInfo,
    Generate,
    Incomplete,
    Notice,
    Ok,
    Ping,
    Pong,
    Predict,
    Result,
    Snapshot,
    StreaminferError,
    Timings,
    Usage,
)

from .peer import Peer, PeerSocket

WAIT_S = 30
WORDS = ["The ", "asyncio ", "module ", "provides ", "infrastructure."]
USAGE, TIMINGS = Usage(1, len(WORDS)), Timings(0.0, 1.0, 2.0)
COMPLETED = Completed("st_1", len(WORDS), "length", USAGE, TIMINGS)


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less between attempts than between computers."""
    monkeypatch.setattr(retries, "FIRST_S", 0.01)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer(lambda socket, request: None) as peer:
        yield peer


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with connect(peer.url, "t", reconnect_s=5) as client:
        yield client


def delta(first: int, last: int | None = None) -> Delta:
    """Some of the words, merged where they are several."""
    words = WORDS[first : (first if last is None else last) + 1]
    return Delta("st_1", first, "".join(words), list(range(first, first + len(words))), [1.0] * len(words), last)


def attached(request: Any, epoch: str = "e", **changes: Any) -> Attached:
    fields = {"floor": 0, "head": len(WORDS), "closed": False, "recovered": True} | changes
    return Attached(request.id, "st_1", epoch, **fields)


def rest(after: int) -> list[Any]:
    """All that follows ``after``, as a server would say it at once."""
    return [*([delta(after + 1, len(WORDS) - 1)] if after + 1 < len(WORDS) else []), COMPLETED]


def first_then(socket: PeerSocket, request: Any, *messages: Any) -> None:
    """Answer a generate with these messages, and an attach as it should be."""
    match request:
        case Generate():
            socket.say(attached(request), *messages)
        case Attach():
            socket.say(attached(request), *rest(request.after))


@pytest.mark.parametrize(
    ("wrong", "after"),
    [
        ([delta(0), delta(2)], 0),
        ([delta(0), delta(1), delta(1)], 1),
        ([delta(0, 2), delta(2, 3)], 2),
        ([delta(1)], -1),
        ([delta(0), COMPLETED], 0),
    ],
    ids=["a gap", "a repeat", "an overlap", "no beginning", "an early end"],
)
def test_a_connection_that_is_not_whole_is_given_up_for_another(
    peer: Peer, client: Client, wrong: list[Any], after: int
) -> None:
    peer.script = lambda socket, request: first_then(socket, request, *wrong)
    stream = client.generate("demo", "x")
    assert stream.wait(WAIT_S).text == "".join(WORDS)
    assert stream.token_ids == list(range(len(WORDS)))
    assert [(request.epoch, request.after) for request in peer.asked_for(Attach)] == [("e", after)]
    assert stream.reconnects == 1
    assert len(peer.clients) == 2
    assert len(peer.asked_for(Generate)) == 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 3), st.none() | st.integers(0, len(WORDS) - 1)), max_size=len(WORDS)))
def test_any_split_of_readings_is_the_whole_once(plan: list[tuple[int, int | None]]) -> None:
    """Each connection brings some words, then perhaps one that is not due, and is cut; the last brings the rest."""
    steps = iter(plan)

    def script(socket: PeerSocket, request: Any) -> None:
        after = request.after if isinstance(request, Attach) else -1
        socket.say(attached(request))
        brings, wrong = next(steps, (len(WORDS), None))
        last = min(after + brings, len(WORDS) - 1)
        socket.say(*([delta(after + 1, last)] if after < last else []))
        if last == len(WORDS) - 1:
            socket.say(COMPLETED)
            return
        if wrong is not None and wrong != last + 1:
            socket.say(delta(wrong))
        socket.cut()

    with Peer(script) as peer, connect(peer.url, "t", reconnect_s=5) as client:
        stream = client.generate("demo", "x").wait(WAIT_S)
        deltas = list(stream)
        assert stream.text == "".join(WORDS)
        assert [each.seq for each in deltas] == [0] + [(each.last or each.seq) + 1 for each in deltas[:-1]]
        assert stream.reconnects == len(peer.asked_for(Attach))


def test_many_streams_go_on_over_one_new_connection(peer: Peer, client: Client) -> None:
    begun: list[str] = []

    def script(socket: PeerSocket, request: Any) -> None:
        match request:
            case Generate():
                name = f"st_{len(begun)}"
                begun.append(name)
                socket.say(Attached(request.id, name, "e", 0, 0, False, True), Delta(name, 0, "a", [1], [1.0]))
                if len(begun) == 5:
                    socket.cut()
            case Attach():
                socket.say(Attached(request.id, request.stream, "e", 0, 1, False, True))
                socket.say(Delta(request.stream, 1, "b", [2], [2.0]))
                socket.say(Completed(request.stream, 2, "stop", USAGE, TIMINGS))

    peer.script = script
    streams = client.generate("demo", "x", n=5)
    assert [stream.wait(WAIT_S).text for stream in streams] == ["ab"] * 5
    assert len(peer.clients) == 2
    assert {request.stream: request.after for request in peer.asked_for(Attach)} == dict.fromkeys(begun, 0)


def test_another_epoch_voids_what_was_read(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        if isinstance(request, Generate):
            socket.say(attached(request), delta(0))
            socket.cut()
        else:
            socket.say(attached(request, epoch="another"), delta(1), COMPLETED)

    peer.script = script
    stream = client.generate("demo", "x")
    with pytest.raises(StreaminferError, match="epoch") as raised:
        stream.wait(WAIT_S)
    assert raised.value.field == "epoch"
    assert (stream.state, stream.text) == ("lost", WORDS[0])


def expired(request: Any) -> Error:
    return Error("expired", "It is kept from event 3 on.", False, request.id, "after")


@pytest.mark.parametrize("answer", [expired, lambda request: attached(request, floor=3, recovered=False)])
def test_a_log_that_reaches_back_no_longer(peer: Peer, client: Client, answer: Callable[[Any], Any]) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        match request:
            case Generate():
                socket.say(attached(request), delta(0))
                socket.cut()
            case Attach(snapshot=True):
                snapshot = Snapshot("".join(WORDS[:3]), 3)
                socket.say(attached(request, floor=3, recovered=False, snapshot=snapshot), *rest(2))
            case Attach():
                socket.say(answer(request), *rest(2))

    peer.script = script
    stream = client.generate("demo", "x")
    with pytest.raises(StreaminferError, match="snapshot=True") as raised:
        stream.wait(WAIT_S)
    assert raised.value.code == "expired"
    assert (stream.state, stream.text) == ("lost", WORDS[0])
    again = client.attach(stream.id, snapshot=True).wait(WAIT_S)
    assert again.text == "".join(WORDS)
    assert again.token_ids == [3, 4]
    assert again.snapshot == Snapshot("".join(WORDS[:3]), 3)


def test_a_reader_that_came_too_late_for_what_it_was_to_read_next(peer: Peer, client: Client) -> None:
    """The server says so in the middle of the reading, with the id that began it; the stream once waited for ever."""

    def script(socket: PeerSocket, request: Any) -> None:
        socket.say(attached(request), delta(0), expired(request), delta(4), COMPLETED)

    peer.script = script
    stream = client.generate("demo", "x")
    with pytest.raises(StreaminferError, match="snapshot=True") as raised:
        stream.wait(WAIT_S)
    assert raised.value.code == "expired"
    assert (stream.state, stream.text) == ("lost", WORDS[0])
    assert len(peer.clients) == 1


def test_a_stream_that_the_server_has_forgotten(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        if isinstance(request, Generate):
            socket.say(attached(request), delta(0))
            socket.cut()
        else:
            socket.say(Error("stream_not_found", "There is no stream st_1.", False, request.id, "stream"))

    peer.script = script
    stream = client.generate("demo", "x")
    with pytest.raises(StreaminferError, match="no stream st_1") as raised:
        stream.wait(WAIT_S)
    assert raised.value.code == "stream_not_found"
    assert stream.text == WORDS[0]


def test_a_server_that_is_too_busy_to_attach_is_asked_again(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        if isinstance(request, Generate):
            socket.say(attached(request), delta(0))
            socket.cut()
        elif len(peer.asked_for(Attach)) < 3:
            socket.say(Error("overloaded", "Busy.", True, request.id, retry_after_ms=5.0))
        else:
            socket.say(attached(request), *rest(request.after))

    peer.script = script
    assert client.generate("demo", "x").wait(WAIT_S).text == "".join(WORDS)
    assert len(peer.asked_for(Attach)) == 3


def test_a_server_that_is_gone_for_good(peer: Peer) -> None:
    peer.script = lambda socket, request: first_then(socket, request, delta(0), delta(1))
    with connect(peer.url, "t", reconnect_s=0.3) as client:
        stream = client.generate("demo", "x")
        next(iter(stream))
        peer.vanish()
        with pytest.raises(ConnectionLostError, match=r"could not be had back within 0\.3 s"):
            stream.wait(WAIT_S)
        assert stream.state == "lost"
        assert "".join(WORDS[:2]).startswith(stream.text)
        assert stream.text


def test_connections_that_never_bring_anything_are_not_tried_for_ever(peer: Peer) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        socket.say(attached(request))
        if isinstance(request, Generate):
            socket.say(delta(0))
        socket.cut()

    peer.script = script
    with connect(peer.url, "t", reconnect_s=0.5) as client:
        stream = client.generate("demo", "x")
        with pytest.raises(ConnectionLostError):
            stream.wait(WAIT_S)
    assert len(peer.asked_for(Attach)) > 1


def test_credentials_that_do_not_open_it_any_more(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        peer.refusal = ErrorInfo("invalid_request", "no")
        socket.say(attached(request), delta(0))
        socket.cut()

    peer.script = script
    stream = client.generate("demo", "x")
    with pytest.raises(NotAuthorizedError):
        stream.wait(WAIT_S)
    assert stream.text == WORDS[0]


def test_a_generate_without_an_answer_is_not_sent_twice(peer: Peer, client: Client) -> None:
    peer.script = lambda socket, request: socket.cut()
    with pytest.raises(ConnectionLostError, match="not known") as raised:
        client.generate("demo", "x")
    assert raised.value.info.retryable
    assert raised.value.sent
    assert len(peer.asked_for(Generate)) == 1


def test_what_is_pure_is_asked_again_on_a_new_connection(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        if len(peer.asked_for(type(request))) < 3:
            socket.cut()
        elif isinstance(request, Predict):
            socket.say(Result(request.id, "digits", "1", []))
        elif isinstance(request, Cancel):
            socket.say(Ok(request.id))

    peer.script = script
    assert len(client.predict("digits", [[1.0]])) == 0
    client.cancel("st_1")
    assert (len(peer.asked_for(Predict)), len(peer.asked_for(Cancel))) == (3, 3)


def test_what_is_pure_is_not_asked_for_ever(peer: Peer, client: Client) -> None:
    peer.script = lambda socket, request: socket.cut()
    with pytest.raises(ConnectionLostError):
        client.predict("digits", [[1.0]])
    assert len(peer.asked_for(Predict)) == 4


def test_attaching_is_tried_again(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        if socket.number == 1:
            socket.cut()
        else:
            socket.say(attached(request), *rest(request.after))

    peer.script = script
    stream = client.attach("st_1")
    assert stream.wait(WAIT_S).text == "".join(WORDS)
    assert (stream.retries, stream.reconnects) == (1, 0)


# Heartbeats.


def test_a_peer_that_says_nothing_is_dead(peer: Peer, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "PING_S", 0.1)

    def script(socket: PeerSocket, request: Any) -> None:
        if isinstance(request, Generate):
            socket.say(attached(request), delta(0))
        elif isinstance(request, Attach):
            socket.say(attached(request), *rest(request.after))

    peer.script = script
    stream = client.generate("demo", "x").wait(WAIT_S)
    assert stream.text == "".join(WORDS)
    assert stream.reconnects == 1
    assert peer.asked_for(Ping)


def test_a_peer_that_answers_is_alive_however_long_its_stream_is_silent(
    peer: Peer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "PING_S", 0.5)

    def script(socket: PeerSocket, request: Any) -> None:
        match request:
            case Generate():
                socket.say(attached(request), delta(0))
            case Ping() if len(peer.asked_for(Ping)) < 4:
                socket.say(Pong(request.id))
            case Ping():
                socket.say(*rest(0))

    peer.script = script
    stream = client.generate("demo", "x").wait(WAIT_S)
    assert stream.text == "".join(WORDS)
    assert stream.reconnects == 0


def test_a_peer_that_is_slow_to_answer_but_says_something_is_alive(
    peer: Peer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "PING_S", 0.5)

    def script(socket: PeerSocket, request: Any) -> None:
        match request:
            case Generate():
                socket.say(attached(request), delta(0))
            case Ping() if len(peer.asked_for(Ping)) < 4:
                # No pong: it is still behind other answers.
                socket.say(delta(len(peer.asked_for(Ping))))
            case Ping():
                socket.say(*rest(3))

    peer.script = script
    stream = client.generate("demo", "x").wait(WAIT_S)
    assert stream.text == "".join(WORDS)
    assert stream.reconnects == 0


# What else the server may say.


def test_each_client_has_a_name_of_its_own(peer: Peer, client: Client) -> None:
    peer.script = lambda socket, request: socket.say(Ok(request.id))
    with connect(peer.url, "t") as other:
        client.cancel("st_1")
        other.cancel("st_1")
    assert len(set(peer.clients)) == 2
    assert peer.clients == peer.rest_clients


def test_notices_are_kept_and_shown(peer: Peer, client: Client) -> None:
    notices = [Notice("st_1", "slow_consumer", "Read."), Notice("st_1", "paused", "It waits.")]
    many = [Notice("st_1", "retrying", str(index)) for index in range(200)]
    seen: list[str] = []

    def script(socket: PeerSocket, request: Any) -> None:
        match request:
            case Generate():
                socket.say(attached(request), delta(0), *notices)
            case Cancel():
                socket.say(Ok(request.id), *many, *rest(0))

    peer.script = script
    stream = client.generate("demo", "x")
    stream.add_listener(lambda stream: seen.append(repr(stream)))
    stream.cancel()
    stream.wait(WAIT_S)
    assert stream.notices == many[-len(stream.notices) :]
    assert 0 < len(stream.notices) < 200
    assert any("retrying" in each for each in seen)
    assert "retrying" not in repr(stream)


def test_an_incomplete_stream_is_no_error_and_can_be_resumed(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        match request:
            case Generate():
                socket.say(attached(request), delta(0, 1), Incomplete("st_1", 2, "deadline", USAGE, TIMINGS))
            case Continue():
                socket.say(Attached(request.id, "st_2", "e", 0, 0, False, True))
                socket.say(Delta("st_2", 0, "".join(WORDS[2:]), [2, 3, 4], [1.0] * 3))
                socket.say(Completed("st_2", 1, "length", USAGE, TIMINGS))

    peer.script = script
    stream = client.generate("demo", "x")
    assert [each.text for each in stream] == ["".join(WORDS[:2])]
    assert (stream.state, stream.finish_reason, stream.error) == ("incomplete", "deadline", None)
    assert stream.resumable
    rest = stream.resume().wait(WAIT_S)
    assert [request.stream for request in peer.asked_for(Continue)] == ["st_1"]
    assert rest.previous is stream
    assert rest.request == stream.request
    assert (rest.text, rest.full_text) == ("".join(WORDS[2:]), "".join(WORDS))
    assert not rest.resumable
    with pytest.raises(StreaminferError, match="complete"):
        rest.resume()


def test_a_frame_that_is_not_known_ends_everything(peer: Peer, client: Client) -> None:
    def script(socket: PeerSocket, request: Any) -> None:
        socket.say(attached(request), delta(0))
        socket.write_message('{"type": "dance"}')

    peer.script = script
    stream = client.generate("demo", "x")
    with pytest.raises(ConnectionLostError, match="Install the same version"):
        stream.wait(WAIT_S)
    assert len(peer.asked_for(Attach)) == 0


def test_closing_during_a_call_ends_the_call(peer: Peer) -> None:
    client = connect(peer.url, "t")

    def script(socket: PeerSocket, request: Any) -> None:
        client.close()

    peer.script = script
    with pytest.raises((ConnectionLostError, RuntimeError), match="closed"):
        client.predict("digits", [[1.0]])


def test_closing_while_a_connection_is_looked_for_ends_the_streams(peer: Peer) -> None:
    peer.script = lambda socket, request: first_then(socket, request, delta(0))
    with connect(peer.url, "t") as client:
        stream = client.generate("demo", "x")
        next(iter(stream))
        peer.vanish()
    with pytest.raises(ConnectionLostError, match="closed"):
        stream.wait(WAIT_S)


def test_backoff_grows_to_its_limit_and_is_drawn() -> None:
    for failures in (0, 1, 5, 20, 10_000):
        drawn = [retries.backoff_s(failures) for _ in range(50)]
        longest = min(retries.MAX_S, retries.FIRST_S * 2 ** min(failures, 60))
        assert all(longest / 2 <= each <= longest for each in drawn)
        assert len(set(drawn)) > 1
    assert readings.RECONNECT_S > retries.MAX_S
