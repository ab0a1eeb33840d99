"""Who may ask: visitors of the page itself, on this machine, or those who have the token; and what pages may do."""

import logging
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ipoke.studio.problem import one_line
from ipoke.studio.tokens import Token
from ipoke.studio.visitors import address_of
from ipoke.studio.writing import written

LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "style-src 'self'; script-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
ELSEWHERE = 403, "origin: this page is not the studio's; open the studio itself"
NO_TOKEN = 401, "token: missing or wrong; open the address that was printed, or send it as a bearer"
MANY = 429, "token: too many wrong ones from your address; wait a moment"
HELD_BACK = "ipoke.held_back"
"""What is in the scope of a request whose answer is only held back, so that its connection may give way to others."""
_log = logging.getLogger("ipoke.studio")


class Guard:
    """Answers those who may not ask, and adds to every answer what a browser must keep to.

    Args:
        app: What is guarded.
        token: Asked of every call to ``/api/``; with None only names of this machine are answered, so that another
            site's page cannot reach the server under a name of its own.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app, self.token = app, Token(token) if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on; whatever goes wrong in there is answered too."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                message["headers"] = [*message["headers"], *_headers(message["headers"])]
            await send(message)

        try:
            refusal = await self._refusal(scope)
            if refusal is None:
                await self.app(scope, receive, send_with_headers)
                return
        except Exception:
            _log.exception("%s: could not be answered", one_line(scope["path"], 80))
            if has_begun:
                raise
            refusal = 500, "something went wrong here; other calls may work"
        status, words = refusal
        body = written({"error": words})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.token is None and _name(f"//{host}") not in LOOPBACK:
            return 403, f"host: got {host[:80]!r}, expected this machine's own name; open the address that was printed"
        origin = headers.get("origin")
        if origin is not None and (_name(origin) is None or origin.partition("://")[2] != host):
            return ELSEWHERE
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return ELSEWHERE
        if self.token is not None and scope["path"].startswith("/api/"):
            given = headers.get("authorization")
            if given is None:
                return NO_TOKEN
            if not self.token.is_right(given.removeprefix("Bearer ")):
                scope[HELD_BACK] = True
                return NO_TOKEN if await self.token.hold_back(address_of((scope.get("client") or ("",))[0])) else MANY
        return None


def _headers(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Give what every answer has; answers of the API, pictures among them, are not stored anywhere."""
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    has_own = any(name.lower() == b"cache-control" for name, _ in given)
    return headers if has_own else [*headers, (b"cache-control", b"no-store")]


def _name(address: str) -> str | None:
    """Give the name of the machine in an address, None where it has none that can be read."""
    try:
        parts = urlsplit(address)
        return parts.hostname if parts.port != 0 else None
    except ValueError:
        return None
