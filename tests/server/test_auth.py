"""Who may come in, and how: Jupyter's own ways, and the kernels' secret."""

import json
import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import HTTPClientError
from tornado.web import RequestHandler
from tornado.websocket import WebSocketHandler

from jupyter_streaminfer.server.app import StreaminferApp
from jupyter_streaminfer.server.secret import LocalUser

from .conftest import Socket, logged

ROUTE = b'{"arms":[{"version":"1","weight":1}]}'
UPLOAD = b'{"name":"nope","files":[{"name":"config.json","size":2,"sha256":"%b"}]}' % (b"0" * 64)
BODIES = {
    "api/alerts": b'{"rules":[]}',
    "api/models": b'{"name":"nope"}',
    "api/models/nope": b'{"pinned":true}',
    "api/models/nope/rollback": b"",
    "api/models/nope/route": ROUTE,
    "api/models/nope/versions": b"{}",
    "api/models/nope/versions/nope/activate": b"",
    "api/reload": b"",
    "api/uploads": UPLOAD,
    "api/uploads/nope/commit": b"",
    "api/uploads/nope/files/nope": b"{}",
    "v1/completions": b'{"model":"nope","prompt":"x"}',
    "v1/chat/completions": b'{"model":"nope","messages":[]}',
}
"""One for each address that takes one: a new one that is not here fails the tests."""
FOUND = {("POST", "api/uploads"): 201, ("POST", "api/reload"): 200, ("PUT", "api/alerts"): 200}
"""What finds what it changes without a model or a stream that is there."""
WITHOUT_END = "api/metrics"
"""What goes on until its reader leaves, as server-sent events."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
STRANGERS = {
    "nobody": "",
    "wrong token": "token wrong",
    "wrong secret": "streaminfer wrong",
    "secret that is no ASCII": "streaminfer \xe9\xff",
    "no secret": "streaminfer",
}
EVIL = "http://evil.example"


class Routes:
    """Every way into the extension, as its own handlers say: what is added later is tested, too."""

    def __init__(self, app: StreaminferApp) -> None:
        self.rest: list[tuple[str, str, dict[str, Any]]] = []
        """Method, address under ``streaminfer/``, and options of the request; two for what has two forms."""
        self.sockets: list[str] = []
        self.handlers = app.handlers
        for pattern, handler, *_ in app.handlers:
            path = pattern.removeprefix("/streaminfer/").replace("([^/]+)", "nope")
            assert re.fullmatch(pattern, f"/streaminfer/{path}"), "what a pattern matches cannot be guessed here"
            if issubclass(handler, WebSocketHandler):
                self.sockets.append(path)
                continue
            for method in METHODS:
                if getattr(handler, method.lower()) is not getattr(RequestHandler, method.lower()):
                    self.rest += [(method, path, options) for options in forms(method, path)]

    def __iter__(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        return ((method, path, {**options, "headers": {**options["headers"]}}) for method, path, options in self.rest)


def forms(method: str, path: str) -> list[dict[str, Any]]:
    if method == "GET":
        return [{"method": method, "headers": headers} for headers in ({}, {"Accept": "text/event-stream"})]
    return [{"method": method, "headers": {}, "body": BODIES[path] if method in ("POST", "PUT", "PATCH") else None}]


@pytest.fixture
def routes(app) -> Routes:
    return Routes(app)


def code(path: str, error: dict[str, Any]) -> str:
    """What an answer says is wrong; its shape is that of its door."""
    if path.startswith("v1/"):
        assert set(error["error"]) == {"message", "type", "param", "code"}
        return str(error["error"]["code"])
    assert set(error) - {"field"} == {"code", "message", "retryable"}
    return str(error["code"])


@pytest.fixture(params=[True, False], ids=["open by default", "closed by default"])
def server_traits(request) -> dict[str, Any]:
    return {"allow_unauthenticated_access": request.param}


@pytest.mark.parametrize("authorization", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_are_refused_on_every_route(request_api, routes: Routes, authorization: str) -> None:
    for method, path, options in routes:
        options["headers"]["Authorization"] = authorization
        status, error = await request_api(path, **options)
        assert (method, path, status, code(path, error)) == (method, path, 403, "invalid_request")


@pytest.mark.parametrize("authorization", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_get_no_socket(jp_ws_fetch, routes: Routes, app, authorization: str) -> None:
    for path in routes.sockets:
        with pytest.raises(HTTPClientError) as refused:
            await jp_ws_fetch("streaminfer", path, headers={"Authorization": authorization})
        assert refused.value.code == 403
    assert not app.connections


def test_the_routes_that_there_are(routes: Routes) -> None:
    """What the other tests go through; this one says whether they go through anything."""
    assert len(routes.sockets) == 1
    assert {method for method, _, _ in routes} == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert {path.split("/")[0] for _, path, _ in routes} == {"api", "v1"}
    assert len({path for _, path, _ in routes}) == len(routes.handlers) - 1
    assert set(BODIES) == {path for method, path, _ in routes if method in ("POST", "PUT", "PATCH")}


@pytest.mark.parametrize("scheme", ["streaminfer", "Bearer"])
async def test_the_secret_opens_our_routes(request_api, jp_ws_fetch, routes: Routes, app, scheme: str) -> None:
    authorization = f"{scheme} {app.secret.value}"
    for method, path, options in routes:
        if path == WITHOUT_END and "Accept" in options["headers"]:
            continue
        options["headers"]["Authorization"] = authorization
        status, answer = await request_api(path, **options)
        found = FOUND.get((method, path), 404 if "nope" in path or method == "POST" else 200)
        assert status == found, (method, path, answer)
        if status == 404:
            assert code(path, answer).endswith("_not_found"), "past XSRF without a cookie, as a token is"
    for path in routes.sockets:
        socket = Socket(await jp_ws_fetch("streaminfer", path, headers={"Authorization": authorization}))
        assert await socket.ask(type="ping", id="p") == {"type": "pong", "id": "p"}


JUPYTERS = [
    "api/contents",
    "api/contents/notebook.ipynb",
    "api/kernels",
    "api/kernelspecs",
    "api/sessions",
    "api/terminals",
    "api/config/notebook",
    "api/me",
    "api/status",
    "metrics",
]
JUPYTERS_SOCKETS = [
    "api/kernels/01234567-89ab-cdef-0123-456789abcdef/channels",
    "terminals/websocket/1",
    "api/events/subscribe",
]


async def test_the_secret_opens_nothing_of_jupyters(jp_fetch, jp_ws_fetch, app) -> None:
    for scheme in ("streaminfer", "token", "Bearer"):
        authorization = {"Authorization": f"{scheme} {app.secret.value}"}
        for path in JUPYTERS:
            with pytest.raises(HTTPClientError) as refused:
                await jp_fetch(*path.split("/"), headers=dict(authorization), follow_redirects=False)
            assert (path, refused.value.code) == (path, 403)
        for method in ("POST", "DELETE"):
            with pytest.raises(HTTPClientError) as refused:
                await jp_fetch(
                    "api", "kernels", method=method, headers=dict(authorization), allow_nonstandard_methods=True
                )
            assert refused.value.code == 403
        for path in JUPYTERS_SOCKETS:
            with pytest.raises(HTTPClientError) as refused:
                await jp_ws_fetch(*path.split("/"), headers=dict(authorization))
            response = refused.value.response
            assert refused.value.code == 403 or "/login?" in response.headers["Location"], path


def test_the_secret_shows_nowhere(app, caplog) -> None:
    assert app.secret.value not in repr(app.secret)
    assert app.secret.value not in json.dumps(app.serverapp.server_info())
    assert app.secret.value not in repr(app.trait_values()) + repr(app.extension_config) + repr(app.serverapp.config)
    assert app.secret.value not in logged(caplog)


class Browser:
    """A logged-in page's cookies."""

    def __init__(self, jp_fetch) -> None:
        self._fetch = jp_fetch
        self.cookies: dict[str, str] = {}

    async def log_in(self) -> None:
        page = await self._fetch("login", headers={"Authorization": ""})
        status = await self._fetch("api", "status")
        for response in (page, status):
            for header in response.headers.get_list("Set-Cookie"):
                self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(header).items()}
        assert len(self.cookies) == 2
        assert "_xsrf" in self.cookies

    def headers(self, xsrf: bool = False, **more: str) -> dict[str, str]:
        cookies = {name: value for name, value in self.cookies.items() if xsrf or name != "_xsrf"}
        headers = {"Authorization": "", "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        return headers | ({"X-XSRFToken": self.cookies["_xsrf"]} if xsrf else {}) | more


@pytest.fixture
async def browser(jp_fetch, app) -> Browser:
    browser = Browser(jp_fetch)
    await browser.log_in()
    return browser


async def test_a_page_needs_its_xsrf_token_to_change_anything(request_api, routes: Routes, browser: Browser) -> None:
    assert (await request_api("api", "models", headers=browser.headers(Referer="http://127.0.0.1/")))[0] == 200
    for method, path, options in routes:
        if method != "GET":
            assert (await request_api(path, **options | {"headers": browser.headers()}))[0] == 403
            status, error = await request_api(path, **options | {"headers": browser.headers(xsrf=True)})
            assert status == FOUND.get((method, path), 404), (method, path, error)
            assert status != 404 or code(path, error).endswith("_not_found")


async def test_a_page_of_another_origin_is_refused(
    request_api, jp_ws_fetch, routes: Routes, app, browser: Browser, jp_http_port: int
) -> None:
    for _, path, options in routes:
        status, error = await request_api(path, **options | {"headers": browser.headers(xsrf=True, Origin=EVIL)})
        assert status in (403, 404)
        assert code(path, error) == "invalid_request"
    for path in routes.sockets:
        headers = browser.headers(Origin=EVIL, Host=f"127.0.0.1:{jp_http_port}")
        with pytest.raises(HTTPClientError) as refused:
            await jp_ws_fetch("streaminfer", path, headers=headers)
        assert refused.value.code == 403
    assert not app.connections


async def test_a_page_of_this_origin_opens_a_socket_with_its_cookie(
    connect, browser: Browser, jp_http_port: int
) -> None:
    host = f"127.0.0.1:{jp_http_port}"
    socket = await connect(headers=browser.headers(Origin=f"http://{host}", Host=host))
    assert (await socket.ask(type="ping", id="p"))["type"] == "pong"


def action(method: str, path: str) -> str:
    """What an authorizer is asked: to generate is to execute, whichever the door."""
    if method == "GET":
        return "read"
    return "execute" if path.startswith("v1/") else "write"


class Refusing(Authorizer):
    """Refuses everybody and notes who asked for what."""

    asked: list[tuple[str, str, str]] = []

    def is_authorized(self, handler, user, action: str, resource: str) -> bool:
        self.asked.append((type(user).__name__, action, resource))
        return False


class TestWithAnAuthorizer:
    @pytest.fixture
    def server_traits(self) -> dict[str, Any]:
        Refusing.asked.clear()
        return {"authorizer_class": Refusing}

    async def test_it_decides_on_every_route(self, request_api, jp_ws_fetch, routes: Routes) -> None:
        for _, path, options in routes:
            status, error = await request_api(path, **options)
            assert (status, code(path, error)) == (403, "invalid_request")
        for path in routes.sockets:
            with pytest.raises(HTTPClientError) as refused:
                await jp_ws_fetch("streaminfer", path)
            assert refused.value.code == 403
        actions = [action(method, path) for method, path, _ in routes] + ["execute"] * len(routes.sockets)
        assert Refusing.asked == [("User", action, "streaminfer") for action in actions]

    async def test_it_is_asked_about_the_secret_too(self, request_api, connect, app) -> None:
        headers = {"Authorization": f"streaminfer {app.secret.value}"}
        assert (await request_api("api", "models", headers=dict(headers)))[0] == 403
        with pytest.raises(HTTPClientError):
            await connect(headers=dict(headers))
        local = LocalUser.__name__
        assert Refusing.asked == [(local, "read", "streaminfer"), (local, "execute", "streaminfer")]


class TestUnderPasswordLogin:
    @pytest.fixture
    def server_traits(self) -> dict[str, Any]:
        from jupyter_server.auth import passwd

        return {"password": passwd("correct horse"), "token": ""}

    async def test_the_secret_is_what_a_kernel_has(self, request_api, app) -> None:
        """With a password the server's token is empty, so a kernel that relied on the token had no way in."""
        assert app.serverapp.identity_provider.auth_enabled
        assert (await request_api("api", "health", headers={"Authorization": "token "}))[0] == 403
        secret = {"Authorization": f"streaminfer {app.secret.value}"}
        assert (await request_api("api", "health", headers=secret))[0] == 200


async def test_the_secret_passes_jupyterhubs_authorizer(app) -> None:
    """The hub's authorizer reads ``user.hub_user["scopes"]``: a user without it was a 500, not a refusal."""
    extension = pytest.importorskip("jupyterhub.singleuser.extension")
    from jupyterhub.services.auth import HubOAuth

    from jupyter_streaminfer.server.secret import SecretIdentityProvider

    class HubProvider(extension.JupyterHubIdentityProvider):
        hub_auth = HubOAuth(
            access_scopes={"access:servers!server=ann/"}, oauth_client_id="x", api_token="x", base_url="/"
        )

    hub = HubProvider()

    class Handler:
        settings = {"identity_provider": hub}

    user = SecretIdentityProvider().get_user(Handler())
    authorizer = extension.JupyterHubAuthorizer(identity_provider=hub)
    assert authorizer.is_authorized(Handler(), user, "read", "streaminfer")
