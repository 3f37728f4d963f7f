"""A server that asks for a key asks for it on every path but `/health`.

vLLM's own check covers the paths that begin with `/v1` and a few more; `/tokenize`, `/metrics` and `/invocations`,
which answers like `/v1`, are open beside it (its documentation says so). This one is put in front of all of them, by
vLLM's option `--middleware`.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Any

KEY_VARIABLE = "VLLM_API_KEY"
OPEN_PATHS = ("/health",)
Send = Callable[[dict[str, Any]], Awaitable[None]]


class KeyGuard:
    """An ASGI application in front of another one; the key is that of the environment when the server starts."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._digest = sha256(os.environ[KEY_VARIABLE].encode()).digest()

    async def __call__(self, scope: Mapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Hand the request on if it may pass, else answer with status 401."""
        if scope["type"] not in ("http", "websocket") or self._passes(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # policy violation
        else:
            headers = [(b"content-type", b"application/json"), (b"www-authenticate", b"Bearer")]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})

    def _passes(self, scope: Mapping[str, Any]) -> bool:
        # A browser asks by OPTIONS what it may send, without a key; nothing is answered but that.
        if scope["path"] in OPEN_PATHS or scope.get("method") == "OPTIONS":
            return True
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        scheme, _, key = (given[0] if len(given) == 1 else b"").partition(b" ")
        return scheme.lower() == b"bearer" and compare_digest(sha256(key).digest(), self._digest)
