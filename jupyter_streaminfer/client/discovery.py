"""Where a server may be: addresses and credentials, in the order in which they are tried."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

from jupyter_streaminfer.protocol import StreaminferError

URL_VARIABLE = "JUPYTER_STREAMINFER_URL"
SECRET_VARIABLE = "JUPYTER_STREAMINFER_SECRET"  # noqa: S105 (a variable's name)

PAGES = re.compile(r"/(lab(/(workspaces|tree)/.*)?|tree(/.*)?|notebooks/.*)$")
"""What follows the base URL in the address of a page that the browser shows."""


@dataclass(frozen=True)
class Server:
    """A server that may have the extension: its base URL, which ends in "/", and what opens it."""

    url: str
    authorization: str | None = field(default=None, repr=False)
    """The ``Authorization`` header's value."""
    pid: int | None = None
    """The server's process, where a runtime file told."""


def from_arguments(url: str, token: str | None, environ: Mapping[str, str], runtime: list[Server]) -> Server:
    """The server at an address that somebody gave, pasted from a browser perhaps (``.../lab?token=...``).

    Without a token: the one in the address, the environment's secret if it is for this very server, the one in
    the server's runtime file, then ``JUPYTER_TOKEN``.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "http+unix") or not parts.netloc or not _has_valid_port(url):
        raise StreaminferError(
            "invalid_request",
            "url must be a Jupyter server's base URL, such as http://localhost:8888/ (http, https or http+unix).",
            field="url",
        )
    base = PAGES.sub("", parts.path)
    clean = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], base.rstrip("/") + "/", "", ""))
    token = token or next(iter(parse_qs(parts.query).get("token", [])), None)
    if token:
        return Server(clean, f"token {token}")
    known = [*from_environment(environ), *runtime]
    for server in known:
        if server.authorization and _same(server.url, clean):
            return Server(clean, server.authorization)
    token = environ.get("JUPYTER_TOKEN")
    return Server(clean, f"token {token}" if token else None)


def from_environment(environ: Mapping[str, str]) -> Iterator[Server]:
    """What the extension told this kernel or terminal in its environment: at most one server."""
    if url := environ.get(URL_VARIABLE):
        secret = environ.get(SECRET_VARIABLE)
        yield Server(url.rstrip("/") + "/", f"streaminfer {secret}" if secret else None)


def from_runtime_files(environ: Mapping[str, str], folder: Path | None = None) -> list[Server]:
    """The running servers of this user: first the one that started this kernel, then the youngest."""
    folder = folder or _runtime_folder()
    files = sorted(folder.glob("jpserver-*.json"), key=_age) if folder.is_dir() else []
    servers = [server for file in files if (server := _read(file)) is not None]
    parent = environ.get("JPY_PARENT_PID", "")
    return sorted(servers, key=lambda server: str(server.pid) != parent)


def from_hub(environ: Mapping[str, str], runtime: list[Server]) -> Iterator[Server]:
    """The JupyterHub single-user server that this kernel belongs to: at most one.

    Its own address comes first; without one, a local server of the same base URL, then the Hub's public
    address, then the host that answers the Hub's API.
    """
    token = environ.get("JUPYTERHUB_API_TOKEN")
    prefix = environ.get("JUPYTERHUB_SERVICE_PREFIX", "")
    if not token:
        return
    if url := environ.get("JUPYTERHUB_SERVICE_URL"):
        parts = urlsplit(url)
        host = parts.hostname or ""
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 (where it listens; a client needs one address)
            host = "127.0.0.1"
        address = (
            f"{parts.scheme}://" + (f"[{host}]" if ":" in host else host) + (f":{parts.port}" if parts.port else "")
        )
        path = prefix or parts.path
    elif prefix and (local := next((each for each in runtime if _path(each.url) == _slashes(prefix)), None)):
        address, path = local.url, ""
    elif public := environ.get("JUPYTERHUB_PUBLIC_URL"):
        address, path = public, ""
    elif prefix and (api := environ.get("JUPYTERHUB_API_URL")):
        parts = urlsplit(api)
        address, path = f"{parts.scheme}://{parts.netloc}", prefix
    else:
        return
    yield Server(address.rstrip("/") + _slashes(path), f"token {token}")


def unix_socket(url: str) -> str | None:
    """The socket's path in an ``http+unix://`` address, else None."""
    parts = urlsplit(url)
    return unquote(parts.netloc) if parts.scheme == "http+unix" else None


def _has_valid_port(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _slashes(path: str) -> str:
    return f"/{path.strip('/')}/" if path.strip("/") else "/"


def _path(url: str) -> str:
    return _slashes(urlsplit(url).path)


def _same(one: str, other: str) -> bool:
    """Whether two addresses are one server's; localhost has several names."""
    a, b = urlsplit(one), urlsplit(other)
    hosts = {a.hostname, b.hostname}
    local = hosts <= {"localhost", "127.0.0.1", "::1"}
    return (a.scheme, a.port, _path(one)) == (b.scheme, b.port, _path(other)) and (local or a.netloc == b.netloc)


def _runtime_folder() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir

    return Path(jupyter_runtime_dir())


def _age(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except OSError:
        return 0.0


def _read(file: Path) -> Server | None:
    """One server's runtime file; None where it is half-written, foreign, or its process is gone."""
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        pid, url, token = int(info["pid"]), str(info["url"]), str(info.get("token") or "")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not _alive(pid):
        return None
    return Server(url.rstrip("/") + "/", f"token {token}" if token else None, pid)


def _alive(pid: int) -> bool:
    if os.name == "nt":
        # Sending signal 0 would end the process on Windows; the probe of the address decides there.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
