"""Finding a server: each way with a real one."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import ENDLESS

from jupyter_streaminfer.client import Client, NotAuthorizedError, connect
from jupyter_streaminfer.client.errors import ConnectionLostError, NoServerError
from jupyter_streaminfer.protocol import Deadlines, StreaminferError

from .server_process import JupyterServer, free_port


@pytest.fixture(scope="module")
def closed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterServer]:
    """A server with a password, which therefore has no token."""
    from jupyter_server.auth import passwd

    folder = tmp_path_factory.mktemp("closed")
    server = JupyterServer(folder, token="", password=passwd("pass"))
    yield server
    server.stop()


def share(server: JupyterServer, runtime: Path, **changes: object) -> None:
    """Put the server's runtime file where this process looks."""
    (file,) = server.runtime.glob("jpserver-*.json")
    info = json.loads(file.read_text())
    (runtime / file.name).write_text(json.dumps({**info, **changes}))


def test_no_server_is_an_engine_in_this_process(no_server: Path) -> None:
    with connect() as client:
        assert client.url is None
        assert client.health().status == "ok"


def test_the_package_offers_it() -> None:
    import jupyter_streaminfer

    assert jupyter_streaminfer.connect is connect
    assert jupyter_streaminfer.Deadlines is Deadlines
    with pytest.raises(AttributeError, match="disconnect"):
        _ = jupyter_streaminfer.disconnect  # type: ignore[attr-defined]


def test_by_arguments(no_server: Path, server: JupyterServer) -> None:
    with connect(server.url, server.token) as client:
        assert client.url == server.url
    with connect(f"{server.url}lab?token={server.token}") as client:
        assert repr(client) == f"<Client {server.url}>"


def test_by_runtime_file_with_an_odd_base_url(no_server: Path, server: JupyterServer) -> None:
    share(server, no_server)
    with connect() as client:
        assert client.url is not None
        assert client.url.endswith(f":{server.port}/a%40b/")
        assert client.health().status == "ok"
    with connect(server.url) as client:
        assert client.url == server.url


def test_by_environment(no_server: Path, server: JupyterServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret is the one that the server itself tells its kernels: see test_kernel; a token is not taken for it."""
    monkeypatch.setenv("JUPYTER_STREAMINFER_URL", server.url)
    monkeypatch.setenv("JUPYTER_STREAMINFER_SECRET", "wrong")
    with pytest.raises(NotAuthorizedError, match="token") as raised:
        connect()
    assert "wrong" not in str(raised.value)
    with connect(token=server.token) as client:
        assert client.url == server.url


def test_by_the_hubs_variables(no_server: Path, server: JupyterServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_URL", f"http://0.0.0.0:{server.port}/a%40b/")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/a%40b/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", server.token)
    with connect() as client:
        assert client.url == server.url


def test_the_hubs_token_opens_a_server_whose_runtime_file_has_none(
    no_server: Path, server: JupyterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(server, no_server, token="")
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/a%40b/")
    monkeypatch.setenv("JUPYTERHUB_API_TOKEN", server.token)
    with connect() as client:
        assert client.url is not None


def test_a_password_is_asked_for_nowhere_else(
    no_server: Path, closed_server: JupyterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(closed_server, no_server)
    with pytest.raises(NotAuthorizedError, match="password"):
        connect()
    monkeypatch.setenv("JPY_PARENT_PID", str(closed_server.process.pid))
    with pytest.raises(NotAuthorizedError, match="password"):
        connect()


def test_a_kernel_of_another_program_is_not_troubled_by_a_closed_server(
    no_server: Path, closed_server: JupyterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nbval starts its kernel itself; a password server that ran on the machine made every notebook test fail."""
    share(closed_server, no_server)
    monkeypatch.setenv("JPY_PARENT_PID", str(os.getpid()))
    with connect() as client:
        assert client.url is None


def test_the_right_one_of_two(
    no_server: Path, server: JupyterServer, closed_server: JupyterServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(server, no_server)
    share(closed_server, no_server)
    monkeypatch.setenv("JPY_PARENT_PID", str(server.process.pid))
    with connect() as client:
        assert client.url is not None
        assert str(server.port) in client.url


def test_an_address_where_nobody_answers(no_server: Path) -> None:
    with pytest.raises(ConnectionLostError, match="does not answer"):
        connect(f"http://127.0.0.1:{free_port()}/", "t")


def test_an_address_that_is_no_jupyter_server_of_ours(no_server: Path, server: JupyterServer) -> None:
    with pytest.raises(NoServerError, match="jupyter_streaminfer"):
        connect(f"http://127.0.0.1:{server.port}/", server.token)


def test_a_server_file_of_a_server_without_the_extension_is_passed_over(no_server: Path, server: JupyterServer) -> None:
    share(server, no_server, url=f"http://127.0.0.1:{server.port}/elsewhere/")
    with connect() as client:
        assert client.url is None


def test_a_wrong_token(no_server: Path, server: JupyterServer) -> None:
    with pytest.raises(NotAuthorizedError) as raised:
        connect(server.url, "not-the-token")
    assert isinstance(raised.value, StreaminferError)
    assert "not-the-token" not in str(raised.value)


def test_by_a_unix_socket(no_server: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sock")
    server = JupyterServer(folder, token="unix-token", sock=str(folder / "Server.sock"))
    try:
        share(server, no_server)
        with connect() as client:
            assert client.url is not None
            assert client.url.startswith("http+unix://")
            client.load("digits")
            assert len(client.predict("digits", [[[0.0] * 8] * 8])) == 1
    finally:
        server.stop()


def test_a_server_that_dies_and_comes_back(tmp_path: Path, long_llama: Path) -> None:
    server = JupyterServer(tmp_path)
    try:
        with connect(server.url, server.token, reconnect_s=1) as client:
            client.load("tiny", long_llama)
            stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
            received = next(iter(stream)).token_ids
            server.kill()
            with pytest.raises(ConnectionLostError, match="lost"):
                stream.wait(60)
            assert stream.state == "lost"
            assert stream.token_ids[: len(received)] == received
            with pytest.raises(ConnectionLostError):
                client.models()
            server = JupyterServer(tmp_path, port=server.port)
            _loaded_again(client, long_llama)
            assert client.generate("tiny", "The", max_tokens=4, ignore_eos=True).wait(60).state == "completed"
    finally:
        server.stop()


def test_a_server_that_is_started_anew_does_not_know_the_stream(tmp_path: Path, long_llama: Path) -> None:
    server = JupyterServer(tmp_path)
    try:
        with connect(server.url, server.token, reconnect_s=120) as client:
            client.load("tiny", long_llama)
            stream = client.generate("tiny", "The", max_tokens=ENDLESS, ignore_eos=True)
            next(delta for delta in stream if stream.text)  # a first token may be half a character
            server.kill()
            server = JupyterServer(tmp_path, port=server.port)
            with pytest.raises(StreaminferError, match="what was received is kept") as raised:
                stream.wait(120)
            assert raised.value.code == "stream_not_found"
            assert stream.state == "lost"
            assert stream.text
    finally:
        server.stop()


def _loaded_again(client: Client, folder: Path) -> None:
    assert client.models() == []
    client.load("tiny", folder)
