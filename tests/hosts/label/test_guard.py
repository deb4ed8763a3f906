"""Who may ask the label server, how much, and how many at once; a small application stands for MONAI Label's."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
from conemos_bundle.hosts.label.guard import Guard, Limits

HERE = ("host", "127.0.0.1:8000")


class Theirs:
    """Answers with what it was sent, after ``seconds``, in the way of MONAI Label: nothing else goes on meanwhile."""

    def __init__(self, seconds: float = 0) -> None:
        self.seconds, self.asked, self.at_once, self.most = seconds, list[str](), 0, 0
        self.bodies = list[bytes]()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        self.asked.append(scope["path"])
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        self.bodies.append(body)
        time.sleep(self.seconds)
        if scope["path"] == "/broken/":
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[:1000], "more_body": True})
        await send({"type": "http.response.body", "body": body[1000:]})
        self.at_once -= 1


async def ask(
    guard: Guard,
    path: str = "/infer/model",
    method: str = "POST",
    body: bytes = b"{}",
    headers: Sequence[tuple[str, str]] = (HERE,),
    leaves: float | None = None,
) -> tuple[int, bytes]:
    """Status and content; the client ``leaves`` after so many seconds: status 0."""
    parts = [body[k : k + 2**16] for k in range(0, len(body), 2**16)] or [b""]
    sent = list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        if not parts:
            await asyncio.sleep(1e6 if leaves is None else leaves)
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers]
    await guard({"type": "http", "method": method, "path": path, "headers": raw}, receive, send)
    return (sent[0]["status"] if sent else 0), b"".join(message.get("body", b"") for message in sent)


def line(content: bytes) -> str:
    return str(json.loads(content)["detail"])


@pytest.mark.parametrize("path", ["/infer/model", "/datastore/label", "/static/x.js", "/ohif/"])
def test_what_may_be_asked_is_passed_on_whole(path: str) -> None:
    body = bytes(range(256)) * 12_000  # 3 MB, in many parts
    headers = [HERE, ("content-type", "multipart/form-data; boundary=x")]
    theirs = Theirs()
    assert asyncio.run(ask(Guard(theirs, local=True), path, body=body, headers=headers)) == (200, body)
    assert theirs.asked == [path] and theirs.bodies == [body]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/info/", [("host", "evil.example")], 400),
        ("GET", "/info/", [("host", "127.0.0.1.evil.example:8000")], 400),
        ("GET", "/info/", [], 400),
        ("GET", "/info/", [("host", "LOCALHOST:8000")], 200),
        ("GET", "/info/", [("host", "[::1]:8000")], 200),
        ("POST", "/train/model", [HERE, ("origin", "http://evil.example")], 403),
        ("POST", "/train/model", [HERE, ("origin", "null")], 403),
        ("POST", "/train/model", [HERE, ("origin", "http://127.0.0.1:8000")], 200),
        ("POST", "/train/model", [HERE, ("origin", "http://localhost:8000")], 200),
        ("POST", "/train/model", [HERE, ("origin", "http://localhost:8001")], 403),
        ("POST", "/train/model", [HERE, ("origin", "https://viewer.example")], 200),
        ("POST", "/proxy/dicom/../../tools/shutdown", [HERE], 400),
        ("GET", "/static/..\\x", [HERE], 400),
        ("GET", "/session/x\0", [HERE], 400),
        ("POST", "/reload", [HERE], 403),
        ("POST", "/reload/", [HERE], 403),
        ("PUT", "/model/model", [HERE], 403),
        ("DELETE", "/model/model", [HERE], 403),
        ("GET", "/model/model", [HERE], 200),
        ("POST", "/infer/wsi/model", [HERE], 400),
        ("POST", "/infer/wsi_v2/model", [HERE], 400),
    ],
)
def test_strangers_are_refused(method: str, path: str, headers: list[tuple[str, str]], status: int) -> None:
    theirs = Theirs()
    guard = Guard(theirs, origins=frozenset({"https://viewer.example"}), local=True)
    got, content = asyncio.run(ask(guard, path, method, headers=headers))
    assert got == status and bool(theirs.asked) is (status == 200)
    assert status == 200 or ("\n" not in line(content) and 10 < len(line(content)) < 200)


def test_on_a_network_any_name_of_the_server_will_do() -> None:
    assert asyncio.run(ask(Guard(Theirs()), headers=[("host", "label.hospital")]))[0] == 200


@pytest.mark.parametrize(
    ("headers", "size", "status"),
    [
        ([HERE], 2**20, 200),
        ([HERE], 2**20 + 1, 413),
        ([HERE, ("content-length", str(2**40))], 1, 413),
        ([HERE, ("content-length", "-1")], 1, 413),
        ([HERE, ("content-type", "multipart/form-data")], 2**21, 200),
        ([HERE, ("content-type", "multipart/form-data")], 2**21 + 1, 413),
    ],
)
def test_a_request_has_a_size(headers: list[tuple[str, str]], size: int, status: int) -> None:
    theirs = Theirs()
    guard = Guard(theirs, Limits(upload=2**21))
    assert asyncio.run(ask(guard, body=b"x" * size, headers=headers))[0] == status
    assert bool(theirs.asked) is (status == 200) and not guard.held


def test_twenty_wait_and_are_answered_one_after_another_while_the_rest_goes_on() -> None:
    theirs = Theirs(0.02)

    async def ask_all() -> tuple[list[tuple[int, bytes]], float]:
        guard = Guard(theirs)
        waiting = [asyncio.ensure_future(ask(guard, body=str(k).encode())) for k in range(20)]
        await asyncio.sleep(0.01)
        start = time.monotonic()
        assert (await ask(guard, "/train/", "GET"))[0] == 200
        quick = time.monotonic() - start
        return await asyncio.gather(*waiting), quick

    answers, quick = asyncio.run(ask_all())
    assert answers == [(200, str(k).encode()) for k in range(20)]
    assert theirs.asked.index("/train/") < 20 and quick < 0.3 and theirs.most <= 2


def test_more_than_may_wait_are_told_so() -> None:
    async def ask_all() -> list[int]:
        guard = Guard(Theirs(0.05), Limits(waiting=3))
        statuses = [status for status, _ in await asyncio.gather(*(ask(guard) for _ in range(5)))]
        return [*statuses, (await ask(guard))[0]]

    assert asyncio.run(ask_all()) == [200, 200, 200, 503, 503, 200]


def test_uploads_that_wait_have_a_size_together() -> None:
    headers = [HERE, ("content-type", "multipart/form-data")]

    async def ask_all() -> list[int]:
        guard = Guard(Theirs(0.05), Limits(upload=1000))
        asked = (ask(guard, body=b"x" * 900, headers=headers) for _ in range(3))
        return sorted(status for status, _ in await asyncio.gather(*asked))

    assert asyncio.run(ask_all()) == [200, 200, 503]


def test_what_takes_too_long_is_given_up() -> None:
    theirs = Theirs(0.3)

    async def ask_all() -> list[tuple[int, bytes]]:
        guard = Guard(theirs, Limits(seconds=0.1))
        return list(await asyncio.gather(ask(guard), ask(guard)))

    answers = asyncio.run(ask_all())
    assert [status for status, _ in answers] == [504, 504] and "longer than 0.1 seconds" in line(answers[0][1])
    assert len(theirs.asked) == 1  # the second had not begun, and never does


def test_a_client_that_goes_while_it_waits_is_forgotten() -> None:
    theirs = Theirs(0.2)

    async def ask_all() -> list[tuple[int, bytes]]:
        guard = Guard(theirs)
        return list(await asyncio.gather(ask(guard), ask(guard, body=b"gone", leaves=0.05)))

    assert [status for status, _ in asyncio.run(ask_all())] == [200, 0]
    assert theirs.bodies == [b"{}"]


def test_an_error_of_the_application_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    status, content = asyncio.run(ask(Guard(Theirs()), "/broken/"))
    assert (status, line(content)) == (500, "an error of the server; its log says more")
    assert "RuntimeError: broken" in caplog.text


def test_jobs_are_stopped_when_the_server_ends() -> None:
    ended = threading.Event()
    messages = list[str]()

    async def send(message: dict[str, Any]) -> None:
        messages.append(f"{message['type']} {ended.is_set()}")

    asyncio.run(Guard(Theirs(), at_end=ended.set)({"type": "lifespan"}, None, send))  # type: ignore[arg-type]
    assert messages == ["lifespan.shutdown.complete True"]


def test_limits_of_the_starter() -> None:
    assert Limits.of_environment({}) == Limits()
    given = {"CONEMOS_LABEL_UPLOAD": "5", "CONEMOS_LABEL_WAITING": "6", "CONEMOS_LABEL_SECONDS": "7.5"}
    assert Limits.of_environment({**given, "CONEMOS_LABEL_PAUSE": "0"}) == Limits(5, 6, 7.5, 0)
