"""What a server takes at most, and what it counts."""

from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

CLIENT_GONE = 499  # as nginx counts it

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """What a request may bring, and how many may wait.

    Attributes:
        documents: of one request.
        body: in bytes.
        waiting: requests that wait for the model; the next one is sent away.
        seconds: that a request waits for its turn or for the rest of its body.
    """

    documents: int = 500
    body: int = 2_000_000
    waiting: int = 64
    seconds: float = 30.0


class Meter:
    """Counts requests by route and status, what they brought, and the seconds that the model took."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.documents = 0
        self.seconds = 0.0
        self.batches = 0
        self.waiting = 0

    def text(self) -> str:
        """Return the counts as Prometheus reads them."""
        lines = ["# TYPE comp_requests_total counter"]
        lines += [
            f'comp_requests_total{{route="{route}",status="{status}"}} {count}'
            for (route, status), count in sorted(self.requests.items())
        ]
        for name, kind, value in (
            ("comp_documents_total", "counter", self.documents),
            ("comp_model_seconds_sum", "counter", round(self.seconds, 6)),
            ("comp_model_seconds_count", "counter", self.batches),
            ("comp_waiting", "gauge", self.waiting),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"


class TooLarge(Exception):
    """The body of a request is larger than the limit."""


class BodyLimit:
    """Ends requests whose body is too large, or does not come, before anything of it is parsed."""

    def __init__(self, app: App, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body of a request within the limits, then hand it on whole."""
        import asyncio

        from starlette.responses import JSONResponse, Response

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        try:
            body = await asyncio.wait_for(self._read(receive), self._limits.seconds)
        except TooLarge:
            sentence = f"The body is larger than {self._limits.body:,} bytes: send fewer documents."
            await JSONResponse({"detail": sentence}, 413)(scope, receive, send)
            return
        except TimeoutError:
            sentence = f"The body did not come within {self._limits.seconds:g} seconds."
            await JSONResponse({"detail": sentence}, 408)(scope, receive, send)
            return
        if body is None:  # the client is gone, but what counts requests waits for an answer
            await Response(status_code=CLIENT_GONE)(scope, receive, send)
            return

        whole = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        parts, size = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._limits.body:
                raise TooLarge
            if not message.get("more_body"):
                return b"".join(parts)
