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
    ("GET", "api/models"),
    ("POST", "api/models"),
    ("GET", "api/models/digits"),
    ("DELETE", "api/models/digits"),
    ("GET", "api/streams"),
    ("GET", "api/streams/st_x"),
    ("DELETE", "api/streams/st_x"),
    ("GET", "api/health"),
    ("GET", "v1/models"),
    ("GET", "v1/models/digits"),
    ("POST", "v1/completions"),
    ("POST", "v1/chat/completions"),
]
BODIES = {
    "api/models": b'{"name":"nope"}',
    "v1/completions": b'{"model":"nope","prompt":"x"}',
    "v1/chat/completions": b'{"model":"nope","messages":[]}',
}
STRANGERS = {
    "nobody": "",
    "wrong token": "token wrong",
    "wrong secret": "streaminfer wrong",
    "secret that is no ASCII": "streaminfer \xe9\xff",
    "no secret": "streaminfer",
}
EVIL = "http://evil.example"


def options(method: str, path: str) -> dict[str, Any]:
    return {"method": method, **({"body": BODIES[path]} if method == "POST" else {})}


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
async def test_strangers_are_refused_on_every_route(request_api, app, authorization: str) -> None:
    for method, path in ROUTES:
        headers = {"Authorization": authorization}
        status, error = await request_api(path, headers=headers, **options(method, path))
        assert (method, path, status, code(path, error)) == (method, path, 403, "invalid_request")


@pytest.mark.parametrize("authorization", STRANGERS.values(), ids=STRANGERS)
async def test_strangers_get_no_socket(connect, app, authorization: str) -> None:
    with pytest.raises(HTTPClientError) as refused:
        await connect(headers={"Authorization": authorization})
    assert refused.value.code == 403
    assert not app.connections


def test_the_routes_tested_are_all_there_are(app) -> None:
    for method, path in ROUTES:
        [(_, handler)] = [each for each in app.handlers if re.fullmatch(each[0], f"/streaminfer/{path}")]
        assert method in handler_methods(handler)
    for pattern, handler in app.handlers:
        reached = sum(bool(re.fullmatch(pattern, f"/streaminfer/{path}")) for _, path in ROUTES)
        assert reached == (0 if pattern == "/streaminfer/ws" else len(handler_methods(handler)))


def handler_methods(handler: type) -> set[str]:
    return {name for name in ("GET", "POST", "PUT", "PATCH", "DELETE") if name.lower() in vars(handler)}


@pytest.mark.parametrize("scheme", ["streaminfer", "Bearer"])
async def test_the_secret_opens_our_routes(request_api, connect, app, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {app.secret.value}"}
    assert (await request_api("api", "health", headers=dict(headers)))[0] == 200
    for path in BODIES:
        status, error = await request_api(path, headers=dict(headers), **options("POST", path))
        assert (status, code(path, error)) == (404, "model_not_found"), "past XSRF without a cookie, as a token is"
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
            assert (await request_api(path, headers=browser.headers(), **options(method, path)))[0] == 403
            status, error = await request_api(path, headers=browser.headers(xsrf=True), **options(method, path))
            assert (status, code(path, error).endswith("_not_found")) == (404, True)


async def test_a_page_of_another_origin_is_refused(
    request_api, connect, app, browser: Browser, jp_http_port: int
) -> None:
    for method, path in ROUTES:
        headers = browser.headers(xsrf=True, Origin=EVIL)
        status, error = await request_api(path, headers=headers, **options(method, path))
        assert status in (403, 404)
        assert code(path, error) == "invalid_request"
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

    async def test_it_decides_on_every_route(self, request_api, connect) -> None:
        for method, path in ROUTES:
            status, error = await request_api(path, **options(method, path))
            assert (status, code(path, error)) == (403, "invalid_request")
        with pytest.raises(HTTPClientError) as refused:
            await connect()
        assert refused.value.code == 403
        actions = [action(method, path) for method, path in ROUTES] + ["execute"]
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
