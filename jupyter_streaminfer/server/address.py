"""Where local processes reach this server, and telling them so."""

from __future__ import annotations

import os
from urllib.parse import quote

from jupyter_server.serverapp import ServerApp

from jupyter_streaminfer.server.secret import Secret

URL_VARIABLE = "JUPYTER_STREAMINFER_URL"
SECRET_VARIABLE = "JUPYTER_STREAMINFER_SECRET"  # noqa: S105 (a variable's name)

_WILDCARDS = {"": "127.0.0.1", "*": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 (not bound to)


def local_url(server: ServerApp) -> str:
    """The base URL, ending in ``/``, at which a process of this machine reaches the server.

    ``http+unix://`` with the quoted path where it listens on a socket. True once the server has
    found its port, which is before the extensions are started.
    """
    if server.sock:
        return f"http+unix://{quote(server.sock, safe='')}{server.base_url}"
    host = _WILDCARDS.get(server.ip) or (f"[{server.ip}]" if ":" in server.ip else server.ip)
    scheme = "https" if server.ssl_options else "http"
    return f"{scheme}://{host}:{server.port}{server.base_url}"


class Announcement:
    """The environment variables that kernels and terminals started from now on inherit."""

    def __init__(self, url: str, secret: Secret) -> None:
        self._values = {URL_VARIABLE: url, SECRET_VARIABLE: secret.value}
        self._before = {name: os.environ.get(name) for name in self._values}
        os.environ.update(self._values)

    def withdraw(self) -> None:
        """Put back what was there, unless another server has announced itself since."""
        for name, value in self._values.items():
            if os.environ.get(name) == value:
                before = self._before[name]
                if before is None:
                    del os.environ[name]
                else:
                    os.environ[name] = before
