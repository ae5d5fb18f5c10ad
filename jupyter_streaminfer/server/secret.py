"""The kernels' way in: a secret that opens this extension's routes and nothing else of the server."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from jupyter_server.auth import IdentityProvider, User
from tornado.web import RequestHandler

SCHEMES = ("streaminfer", "bearer")
"""``Authorization: streaminfer <secret>``; OpenAI's clients send what they take for a key as ``Bearer``."""


class LocalUser(User):
    """Whoever holds the secret: a kernel or a terminal that this server started, so its owner."""

    hub_user: dict[str, Any] | None = None
    """What JupyterHub's authorizer looks at, where the server runs under a hub."""


class Secret:
    """A random secret, made anew at each start. It is never in a trait, a log or a URL."""

    def __init__(self) -> None:
        self.value = secrets.token_urlsafe(32)

    def __repr__(self) -> str:
        return "Secret(...)"

    def opens(self, authorization: str) -> bool:
        """Whether that ``Authorization`` header carries this secret; takes equally long for every wrong one."""
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() not in SCHEMES:
            return False
        return hmac.compare_digest(given.strip().encode("utf-8", "surrogatepass"), self.value.encode())


class SecretIdentityProvider(IdentityProvider):
    """Identifies a request that carries the secret; it counts as one with a token, so it needs no XSRF cookie."""

    def get_user(self, handler: RequestHandler) -> User:
        """The local user, under the name of the server's own owner where the hub tells one."""
        user = LocalUser(username="streaminfer-local", display_name="Local kernel", initials="LK")
        hub_auth = getattr(handler.settings["identity_provider"], "hub_auth", None)
        if hub_auth is not None:
            user.hub_user = {"name": user.username, "scopes": list(hub_auth.access_scopes)}
        return user

    def is_token_authenticated(self, handler: RequestHandler) -> bool:
        """Always: a page of another origin cannot know the secret."""
        return True
