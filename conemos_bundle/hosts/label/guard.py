"""What stands before MONAI Label's web application: who may ask, how much, and how many at once. It needs no server.

MONAI Label answers in its event loop: during an inference nothing else is answered, a training cannot be stopped, and
any number of uploads waits. Here whole requests are read first, within limits, and answered one after another in a
thread, while the rest goes on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

logger = logging.getLogger(__name__)
_LOCAL = {"127.0.0.1", "localhost", "::1"}
_TEXT = 2**20  # bytes of a request that is no upload
_CHUNK = 2**20  # bytes that are kept in memory, and sent at once
_DRAINED = 2**26  # bytes too many that are still read, since a client reads no answer before it has sent all
_THREADS = {"model": 1, "write": 1, "read": 8}


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    Args:
        upload: bytes of an upload; all that wait may have twice as many.
        waiting: requests of a kind (see `_kind`) that wait for an answer.
        seconds: how long one may take, the waiting included.
        pause: seconds from the end of a training to the next.
    """

    upload: int = 2 * 2**30
    waiting: int = 32
    seconds: float = 600
    pause: float = 60

    @classmethod
    def of_environment(cls, variables: Mapping[str, str]) -> Limits:
        """As ``CONEMOS_LABEL_UPLOAD``, ``…_WAITING``, ``…_SECONDS`` and ``…_PAUSE`` say."""
        given = {name: variables.get(f"CONEMOS_LABEL_{name.upper()}") for name in cls.__dataclass_fields__}
        kinds = {"upload": int, "waiting": int, "seconds": float, "pause": float}
        return cls(**{name: kinds[name](value) for name, value in given.items() if value})


class RefusedError(Exception):
    """A request that is not passed on: the status and the line that it is answered with."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status, self.line = status, line


def reject_strangers(scope: Mapping[str, Any], origins: frozenset[str], local: bool) -> None:
    """Refuse what a web page of somebody else makes a browser ask, and what MONAI Label leaves open.

    Args:
        scope: ASGI's of the request.
        origins: of pages that may ask too, beside the server's own.
        local: this server is for this machine only; a page that has its own name point here is refused.

    Raises:
        RefusedError
    """
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get("host", "").lower(), headers.get("origin")
    if local and _machine(host) != "here":
        raise RefusedError(400, f"this server is for its own machine: ask for http://127.0.0.1, not for {host[:80]!r}")
    page = (origin or "").partition("://")[2].lower()
    own = page == host or (local and _machine(page) == "here" and _port(page) == _port(host))
    if origin is not None and not own and origin.rstrip("/") not in origins:
        raise RefusedError(403, f"pages of {origin[:80]!r} may not ask this server; --origin of its starter lets them")
    path, method = scope["path"], scope["method"]
    if any(part in ("..", ".") for part in path.split("/")) or "\\" in path or "\0" in path:
        raise RefusedError(400, "a path with '..', '\\' or an unprintable character")
    if path.rstrip("/") == "/reload":  # MONAI Label asks nobody for a token there
        raise RefusedError(403, "start the server again instead")
    if path.startswith("/model/") and method not in ("GET", "HEAD"):
        raise RefusedError(403, "models are changed by training, or on the server itself in model/<name>/models")
    if path.startswith("/infer/wsi"):
        raise RefusedError(400, "this server has no models of slides; ask /infer/<model>")


def _machine(address: str) -> str:
    """``here`` for this machine's own names; ``address`` may have a port."""
    name = re.sub(r":\d+$", "", address).strip("[]")
    return "here" if name in _LOCAL else name


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _kind(method: str, path: str) -> str:
    """Which threads answer a request: the model's, one after another, or those that read or change something else."""
    if method == "POST" and path.startswith(("/infer/", "/activelearning/", "/scoring/", "/batch/")):
        return "model"
    return "read" if method in ("GET", "HEAD", "OPTIONS") or path.startswith(("/proxy/", "/auth/")) else "write"


class _Answer(NamedTuple):
    start: Message
    body: IO[bytes]


class Guard:
    """An ASGI application before another.

    Args:
        app: the other.
        limits: of requests.
        origins: see `reject_strangers`.
        local: see `reject_strangers`.
        at_end: called when the server ends.
    """

    def __init__(
        self,
        app: App,
        limits: Limits = Limits(),
        origins: frozenset[str] = frozenset(),
        local: bool = False,
        at_end: Callable[[], Any] = lambda: None,
    ) -> None:
        self.app, self.limits, self.origins, self.local, self.at_end = app, limits, origins, local, at_end
        self.threads = {kind: ThreadPoolExecutor(number, thread_name_prefix=kind) for kind, number in _THREADS.items()}
        self.waiting, self.held = Counter[str](), dict[int, int]()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, or pass on the server's start and end."""
        if scope["type"] != "http":
            await self.app(scope, receive, self._ends(send) if scope["type"] == "lifespan" else send)
            return
        try:
            reject_strangers(scope, self.origins, self.local)
            if scope["path"].startswith("/static/"):
                await self.app(scope, receive, send)
                return
            answer = await self._queue(scope, receive)
        except RefusedError as refused:
            logger.warning(f"refused: {scope['method']} {scope['path'][:80]!r}: {refused}")
            await _send_line(send, refused)
        else:
            if answer is not None:
                await _send_on(send, answer)

    def _ends(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown"):
                self.at_end()
            await send(message)

        return sending

    async def _queue(self, scope: dict[str, Any], receive: Receive) -> _Answer | None:
        """The answer, once it is this request's turn; None where the client has gone."""
        kind, seconds = _kind(scope["method"], scope["path"]), self.limits.seconds
        if self.waiting[kind] >= self.limits.waiting:
            raise RefusedError(503, f"{self.waiting[kind]} requests are waiting; ask again later")
        self.waiting[kind] += 1
        try:
            return await asyncio.wait_for(self._answer(scope, receive, self.threads[kind]), seconds)
        except asyncio.TimeoutError:
            raise RefusedError(504, f"this took longer than {seconds:g} seconds") from None
        finally:
            self.waiting[kind] -= 1

    async def _answer(self, scope: dict[str, Any], receive: Receive, threads: ThreadPoolExecutor) -> _Answer | None:
        body = tempfile.SpooledTemporaryFile(_CHUNK)  # noqa: SIM115 - closed by the thread, where one has begun
        job: Future[_Answer] | None = None
        try:
            if not await self._read(scope, receive, body):
                return None
            job = threads.submit(_answer_here, self.app, scope, body)
            # a request whose client goes while it waits is dropped
            waits: set[asyncio.Future[Any]] = {asyncio.wrap_future(job), asyncio.ensure_future(receive())}
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                return job.result() if job.done() else None
            finally:
                for wait in waits:
                    wait.cancel()  # a job that has begun goes on
        except (RefusedError, asyncio.CancelledError):
            raise
        except Exception as error:
            logger.exception(f"{scope['method']} {scope['path'][:80]!r}")
            raise RefusedError(500, "an error of the server; its log says more") from error
        finally:
            self.held.pop(id(body), None)
            if job is None or job.cancel() or job.cancelled():
                body.close()

    async def _read(self, scope: dict[str, Any], receive: Receive, body: IO[bytes]) -> bool:
        """Read the request into ``body``; False where the client has gone."""
        headers = dict(scope["headers"])
        kind = headers.get(b"content-type", b"").lower()
        most = self.limits.upload if kind.startswith(b"multipart/") else _TEXT
        declared = headers.get(b"content-length", b"0")
        too_large = RefusedError(413, f"more than the {most:,} bytes that this server takes of such a request")
        if not declared.isdigit() or int(declared) > most + _DRAINED:
            raise too_large
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return False
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > most + _DRAINED:
                raise too_large
            if size > most:
                continue
            if sum(self.held.values()) + len(chunk) > 2 * self.limits.upload:
                raise RefusedError(503, "too many uploads are waiting; ask again later")
            self.held[id(body)] = size
            body.write(chunk)
        if size > most:
            raise too_large
        body.seek(0)
        return True


def _answer_here(app: App, scope: dict[str, Any], body: IO[bytes]) -> _Answer:
    """Have a request answered in an event loop of this thread's own, whole."""
    start: list[Message] = []
    answer = tempfile.SpooledTemporaryFile(_CHUNK)  # noqa: SIM115 - it is sent later
    more = True

    async def receive() -> Message:
        nonlocal more
        if not more:
            await asyncio.Event().wait()  # this client does not go
        chunk = body.read(_CHUNK)
        more = bool(chunk)
        return {"type": "http.request", "body": chunk, "more_body": more}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.append(message)
        elif message["type"] == "http.response.body":
            answer.write(message.get("body", b""))

    with body:
        try:
            asyncio.run(app({**scope, "extensions": {}}, receive, send))  # type: ignore[arg-type]
        except Exception:
            if not start:
                answer.close()
                raise
            logger.exception(f"{scope['method']} {scope['path'][:80]!r}")
    answer.seek(0)
    return _Answer(start[0], answer)


async def _send_on(send: Send, answer: _Answer) -> None:
    with answer.body as body:
        await send(answer.start)
        while chunk := body.read(_CHUNK):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_line(send: Send, refused: RefusedError) -> None:
    """As MONAI Label's clients expect errors."""
    content = json.dumps({"detail": refused.line}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
