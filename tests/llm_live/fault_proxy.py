"""A small server in front of the real one that does what servers do when they fail."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web

FAULTS = (
    "refuse",
    "limit",
    "busy",
    "error",
    "late",
    "cut",
    "malformed",
    "list",
    "nothing",
    "deep",
    "digits",
    "broken",
    "empty",
    "unknown",
)


class Seen(NamedTuple):
    """A request for an answer that the proxy was sent: its body, its key, and what was done to it ("" for nothing)."""

    body: dict[str, Any]
    authorization: str | None
    fault: str


class FaultProxy:
    """Passes everything on to `upstream`, but for requests that `fault` names one of FAULTS for.

    Attributes:
        fault: Called with the number of the request (from 0) and its body; "" passes it on.
        answer: Called with the body of a request; what it returns takes the place of the model's text. None leaves that.
        seen: All requests for an answer.
        counted: Questions about tokens.
        card: What is told of a model, from what the server tells of it.
    """

    def __init__(self, upstream: str, port: int):
        self.upstream, self.port = upstream, port
        self.fault: Callable[[int, dict[str, Any]], str] = lambda number, body: ""
        self.answer: Callable[[dict[str, Any]], str | None] = lambda body: None
        self.seen: list[Seen] = []
        self.counted = 0
        self.card: Callable[[dict[str, Any]], dict[str, Any]] = lambda told: told
        self.url = f"http://127.0.0.1:{port}/v1"
        self.most = self._now = 0  # requests at a time
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.start()

    def start(self) -> None:
        """Listen."""
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    async def _start(self) -> None:
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    def die(self) -> None:
        """All connections break, and nobody listens any more; `start` brings it back."""
        asyncio.run_coroutine_threadsafe(self._die(), self._loop).result()

    async def _die(self) -> None:
        server = self._runner.server
        for connection in list(server.connections if server else ()):
            if connection.transport:
                connection.transport.abort()
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        fault = ""
        if request.path.endswith("completions"):
            body = json.loads(content)
            fault = self.fault(len(self.seen), body)
            self.seen.append(Seen(body, request.headers.get("Authorization"), fault))
        self.counted += request.path.endswith("tokenize")
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._faulty(request, content, fault)
        finally:
            self._now -= 1

    async def _faulty(self, request: web.Request, content: bytes, fault: str) -> web.StreamResponse:
        if fault == "refuse":
            assert request.transport
            request.transport.abort()
            return web.Response()
        if fault == "limit":
            return _refusal(429, "Rate limit reached", {"Retry-After": "1"})
        if fault == "busy":
            return _refusal(503, "overloaded")
        if fault == "error":
            return _refusal(500, "Internal Server Error")
        if fault == "unknown":
            return _refusal(400, "Unrecognized request argument supplied: structured_outputs")
        if fault == "late":
            await asyncio.sleep(30)
        if fault in _BODIES:
            return web.Response(body=_BODIES[fault])
        url = self.upstream + request.path_qs
        headers = {"Content-Type": request.content_type} if content else {}
        async with self._session.request(request.method, url, data=content or None, headers=headers) as answer:
            status, body = answer.status, await answer.read()
        text = self.answer(json.loads(content)) if request.path.endswith("completions") and status == 200 else None
        if text is not None:
            body = _with_text(body, text)
        return await self._changed(request, status, body, fault)

    async def _changed(self, request: web.Request, status: int, body: bytes, fault: str) -> web.StreamResponse:
        if fault == "cut":
            response = web.StreamResponse(headers={"Content-Length": str(len(body))})
            await response.prepare(request)
            await response.write(body[: len(body) // 2])
            assert request.transport
            request.transport.close()
            return response
        if fault in ("broken", "empty"):
            value = json.loads(body)
            for choice in value["choices"]:
                choice |= {"finish_reason": "abort"} if fault == "broken" else {"text": ""}
            body = json.dumps(value).encode()
        if request.path.endswith("/models"):
            body = json.dumps({"data": [self.card(one) for one in json.loads(body)["data"]]}).encode()
        return web.Response(status=status, body=body, content_type="application/json")


_BODIES = {
    "malformed": b'{"choices": [{"index"',
    "list": b"[]",
    "nothing": b"",
    "deep": b"[" * 100_000,
    "digits": b'{"choices": ' + b"7" * 5000 + b"}",
}


def _with_text(body: bytes, text: str) -> bytes:
    """The model's answer in other words; its log-probabilities stay those of its own."""
    value = json.loads(body)
    for choice in value["choices"]:
        choice["finish_reason"] = "stop"
        if "message" in choice:
            choice["message"]["content"] = text
        else:
            choice["text"] = text
    return json.dumps(value).encode()


def _refusal(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "code": status}}, status=status, headers=headers)
