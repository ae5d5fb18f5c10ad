import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_streaminfer.client.discovery import (
    Server,
    from_arguments,
    from_environment,
    from_hub,
    from_runtime_files,
    unix_socket,
)
from jupyter_streaminfer.protocol import StreaminferError


@pytest.mark.parametrize(
    ("given", "url", "authorization"),
    [
        ("http://localhost:8888", "http://localhost:8888/", None),
        ("http://localhost:8888/a%40b", "http://localhost:8888/a%40b/", None),
        ("http://localhost:8888/lab?token=abc", "http://localhost:8888/", "token abc"),
        ("http://h/user/lab/lab/tree/x.ipynb?token=abc", "http://h/user/lab/", "token abc"),
        ("https://me:pw@host/user/me/tree?token=abc", "https://host/user/me/", "token abc"),
        ("http+unix://%2Ftmp%2FA.sock/", "http+unix://%2Ftmp%2FA.sock/", None),
    ],
)
def test_an_address_from_a_browser(given: str, url: str, authorization: str | None) -> None:
    assert from_arguments(given, None, {}, []) == Server(url, authorization)


@pytest.mark.parametrize("given", ["localhost:8888", "file:///etc", "", "http://", "http://h:99999/", "http://h:x/"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(StreaminferError) as raised:
        from_arguments(given, None, {}, [])
    assert raised.value.field == "url"


def test_a_given_address_is_opened_by_what_is_known_of_it() -> None:
    runtime = [Server("http://localhost:8888/x/", "token file")]
    environ = {
        "JUPYTER_STREAMINFER_URL": "http://127.0.0.1:9999/",
        "JUPYTER_STREAMINFER_SECRET": "s",
        "JUPYTER_TOKEN": "t",
    }
    found = {
        url: from_arguments(url, None, environ, runtime).authorization
        for url in ("http://127.0.0.1:8888/x/", "http://localhost:9999/", "http://elsewhere:9999/")
    }
    assert found == {
        "http://127.0.0.1:8888/x/": "token file",
        "http://localhost:9999/": "streaminfer s",
        "http://elsewhere:9999/": "token t",
    }
    assert from_arguments("http://localhost:9999/", "mine", environ, runtime).authorization == "token mine"


def test_the_environment() -> None:
    environ = {"JUPYTER_STREAMINFER_URL": "http+unix://%2Fa/x", "JUPYTER_STREAMINFER_SECRET": "s"}
    assert list(from_environment(environ)) == [Server("http+unix://%2Fa/x/", "streaminfer s")]
    assert list(from_environment({})) == []


def test_a_secret_is_in_no_repr() -> None:
    assert "hidden" not in repr(Server("http://h/", "token hidden"))


def write(folder: Path, name: str, **info: object) -> None:
    (folder / f"jpserver-{name}.json").write_text(json.dumps(info))


def test_runtime_files_the_parent_first(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write(tmp_path, "1", pid=os.getppid(), url="http://h:1/a%40b/", token="one")
    write(tmp_path, "2", pid=os.getpid(), url="http://h:2/", token="")
    write(tmp_path, "3", pid=ended.pid, url="http://h:3/", token="gone")
    (tmp_path / "jpserver-4.json").write_text('{"pid": ')
    os.utime(tmp_path / "jpserver-1.json", (1, 1))
    one, two = Server("http://h:1/a%40b/", "token one", os.getppid()), Server("http://h:2/", None, os.getpid())
    assert from_runtime_files({}, tmp_path) == [two, one]
    assert from_runtime_files({"JPY_PARENT_PID": str(os.getppid())}, tmp_path) == [one, two]
    assert from_runtime_files({}, tmp_path / "none") == []


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"SERVICE_URL": "http://127.0.0.1:4321/user/a%40b/"}, "http://127.0.0.1:4321/user/a%40b/"),
        ({"SERVICE_URL": "http://0.0.0.0:8888/", "SERVICE_PREFIX": "/user/me/"}, "http://127.0.0.1:8888/user/me/"),
        ({"SERVICE_URL": "http://:8888/user/me/"}, "http://127.0.0.1:8888/user/me/"),
        ({"SERVICE_URL": "http://[fd00::1]:8888/user/me/"}, "http://[fd00::1]:8888/user/me/"),
        ({"SERVICE_PREFIX": "/user/local/", "API_URL": "http://hub:8081/hub/api"}, "http://localhost:7/user/local/"),
        ({"SERVICE_PREFIX": "/user/me/", "API_URL": "http://hub:8081/hub/api"}, "http://hub:8081/user/me/"),
        ({"PUBLIC_URL": "https://hub/user/me/", "SERVICE_PREFIX": "/user/me/"}, "https://hub/user/me/"),
    ],
)
def test_the_hub(variables: dict[str, str], url: str) -> None:
    environ = {"JUPYTERHUB_API_TOKEN": "t", **{f"JUPYTERHUB_{name}": value for name, value in variables.items()}}
    runtime = [Server("http://localhost:7/user/local/", None, 1)]
    assert list(from_hub(environ, runtime)) == [Server(url, "token t")]


def test_no_hub_without_a_token() -> None:
    assert list(from_hub({"JUPYTERHUB_SERVICE_URL": "http://h/user/me/"}, [])) == []


def test_a_unix_socket_keeps_its_case() -> None:
    assert unix_socket("http+unix://%2Ftmp%2FA.sock/x/") == "/tmp/A.sock"
    assert unix_socket("http://h/") is None
