"""Access control: same-origin requests from this machine, or with the token; and the security headers of responses."""

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
ELSEWHERE = 403, "origin: the request comes from another page; open the studio itself"
NO_TOKEN = (
    401,
    "token: missing or wrong; open the printed address, or send the token as Authorization: Bearer",
)
MANY = 429, "token: too many wrong tokens from your address; wait a moment"
REFUSAL_IS_DELAYED = "ipoke.refusal_is_delayed"
"""Key in the scope of a request whose refusal is delayed, so that its connection counts as idle."""
_log = logging.getLogger("ipoke.studio")


class Guard:
    """Refuses requests without access, and adds the security headers to every response.

    Args:
        app: The application.
        token: Required for every call to ``/api/``; with None, the Host header must name this machine, which prevents
            DNS rebinding.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self.app, self.token = app, Token(token) if token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on; an exception in the application becomes status 500."""
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
            _log.exception("%s: request failed", one_line(scope["path"], 80))
            if has_begun:
                raise
            refusal = 500, "internal error; other calls may work"
        status, words = refusal
        body = written({"error": words})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send_with_headers({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self.token is None and _name(f"//{host}") not in LOOPBACK:
            return (
                403,
                f"host: got {host[:80]!r}, expected this machine's own name; open the printed address",
            )
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
                scope[REFUSAL_IS_DELAYED] = True
                return (
                    NO_TOKEN if await self.token.delay_refusal(address_of((scope.get("client") or ("",))[0])) else MANY
                )
        return None


def _headers(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Give the security headers; responses of the API, pictures among them, are never cached."""
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    has_own = any(name.lower() == b"cache-control" for name, _ in given)
    return headers if has_own else [*headers, (b"cache-control", b"no-store")]


def _name(address: str) -> str | None:
    """Give the host name of an address; None where it cannot be parsed."""
    try:
        parts = urlsplit(address)
        return parts.hostname if parts.port != 0 else None
    except ValueError:
        return None
