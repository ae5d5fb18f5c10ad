"""Who may come in, and how: Jupyter's own ways, and the kernels' secret."""

import json
import re
from http.cookies import SimpleCookie
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from tornado.httpclient import HTTPClientError

from jupyter_streaminfer.server.secret import LocalUser

from .conftest import logged

ROUTES = [
    ("GET", "models"),
    ("POST", "models"),
    ("GET", "models/digits"),
    ("DELETE", "models/digits"),
    ("GET", "streams"),
    ("GET", "streams/st_x"),
    ("DELETE", "streams/st_x"),
    ("GET", "health"),
]
STRANGERS = {
    "nobody": "",
    "wrong token": "token wrong",
    "wrong secret": "streaminfer wrong",
    "secret that is no ASCII": "streaminfer \xe9\xff",
    "no secret": "streaminfer",
}
EVIL = "http://evil.example"


def options(method: str) -> dict[str, Any]:
    return {"method": method, **({"body": b'{"name":"nope"}'} if method == "POST" else {})}


@pytest.fixture(params=[True, False], ids=["open by default", "closed by default"])
def server_traits(request) -> dict[str, Any]:
    return {"allow_unauthenticated_access": request.param}


@pytest.mark.parametrize("authorization", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_are_refused_on_every_route(request_api, app, authorization: str) -> None:
    for method, path in ROUTES:
        status, error = await request_api("api", path, headers={"Authorization": authorization}, **options(method))
        assert (method, path, status) == (method, path, 403)
        assert set(error) == {"code", "message", "retryable"}


@pytest.mark.parametrize("authorization", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_get_no_socket(connect, app, authorization: str) -> None:
    with pytest.raises(HTTPClientError) as refused:
        await connect(headers={"Authorization": authorization})
    assert refused.value.code == 403
    assert not app.connections


def test_the_routes_tested_are_all_there_are(app) -> None:
    patterns = [re.compile(pattern) for pattern, _ in app.handlers]
    for method, path in ROUTES:
        address = f"/streaminfer/api/{path}"
        [(_, handler)] = [each for each in app.handlers if re.fullmatch(each[0], address)]
        assert method in handler_methods(handler)
    reached = [sum(bool(p.fullmatch(f"/streaminfer/api/{path}")) for _, path in ROUTES) for p in patterns]
    offered = [len(handler_methods(handler)) for _, handler in app.handlers]
    assert reached[:-1] == offered[:-1]
    assert app.handlers[-1][0] == "/streaminfer/ws"


def handler_methods(handler: type) -> set[str]:
    return {name for name in ("GET", "POST", "PUT", "PATCH", "DELETE") if name.lower() in vars(handler)}


async def test_the_secret_opens_our_routes(request_api, connect, app) -> None:
    headers = {"Authorization": f"streaminfer {app.secret.value}"}
    assert (await request_api("api", "health", headers=dict(headers)))[0] == 200
    status, error = await request_api("api", "models", headers=dict(headers), **options("POST"))
    assert (status, error["code"]) == (404, "model_not_found"), "past XSRF without a cookie, as a token is"
    socket = await connect(headers=dict(headers))
    assert await socket.ask(type="ping", id="p") == {"type": "pong", "id": "p"}


@pytest.mark.parametrize("path", [("api", "contents"), ("api", "kernels"), ("api", "me"), ("api", "sessions")])
async def test_the_secret_opens_nothing_of_jupyters(jp_fetch, app, path: tuple[str, ...]) -> None:
    for scheme in ("streaminfer", "token", "Bearer"):
        with pytest.raises(HTTPClientError) as refused:
            await jp_fetch(*path, headers={"Authorization": f"{scheme} {app.secret.value}"}, follow_redirects=False)
        assert refused.value.code == 403


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


async def test_a_page_needs_its_xsrf_token_to_change_anything(request_api, browser: Browser) -> None:
    assert (await request_api("api", "models", headers=browser.headers(Referer="http://127.0.0.1/")))[0] == 200
    for method, path in ROUTES:
        if method != "GET":
            assert (await request_api("api", path, headers=browser.headers(), **options(method)))[0] == 403
            status, error = await request_api("api", path, headers=browser.headers(xsrf=True), **options(method))
            assert (status, error["code"].endswith("_not_found")) == (404, True)


async def test_a_page_of_another_origin_is_refused(
    request_api, connect, app, browser: Browser, jp_http_port: int
) -> None:
    for method, path in ROUTES:
        headers = browser.headers(xsrf=True, Origin=EVIL)
        status, error = await request_api("api", path, headers=headers, **options(method))
        assert status in (403, 404)
        assert error["code"] == "invalid_request"
    with pytest.raises(HTTPClientError) as refused:
        await connect(headers=browser.headers(Origin=EVIL, Host=f"127.0.0.1:{jp_http_port}"))
    assert refused.value.code == 403
    assert not app.connections


async def test_a_page_of_this_origin_opens_a_socket_with_its_cookie(
    connect, browser: Browser, jp_http_port: int
) -> None:
    host = f"127.0.0.1:{jp_http_port}"
    socket = await connect(headers=browser.headers(Origin=f"http://{host}", Host=host))
    assert (await socket.ask(type="ping", id="p"))["type"] == "pong"


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

    async def test_it_decides_on_every_route(self, request_api, connect) -> None:
        for method, path in ROUTES:
            status, error = await request_api("api", path, **options(method))
            assert (status, error["code"]) == (403, "invalid_request")
        with pytest.raises(HTTPClientError) as refused:
            await connect()
        assert refused.value.code == 403
        actions = ["read" if method == "GET" else "write" for method, _ in ROUTES] + ["execute"]
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
