"""Checks of `verify_label.py` that strangers may ask the server: odd requests, many at once, kills.

Each function yields a name, whether the check is good, and what came of it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

Check = Iterator[tuple[str, bool, str]]
LINE = 300  # letters of an answer that is one line


def odd_requests(model: str, folder: Path) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """What it is, method, path, and how `Server` shall send it; ``folder`` is the server's, with a file ``hacked``."""
    code = f"$__import__('pathlib').Path('{folder / 'hacked'}').touch()"
    infer = f"/infer/{model}?image=straight&output=json"

    def options(**given: Any) -> dict[str, Any]:
        return {"body": given, "files": {}}

    file = ("x.nii.gz", b"no scan")
    for region in (
        "femur", ["brain"] * 10**4, "anterior," * 10**4, [["anterior"]], {"_target_": "os.system",
        "command": "true"}, 5,
        code, [code], "../../x", "@network_def", "%/etc/hosts::a", "anterior\0", "a" * 10**5, True, [None],
        ["anterior"] * 2,
    ):  # fmt: skip
        yield f"regions {str(region)[:40]}", "POST", infer, options(regions=region)
    for option, values in {
        "region_anterior": ["maybe", code, 7, None, []], "output_format": ["../../x", code, 5, {}, "png"],
        "device": [code, "tpu", "cuda:99999", 3, {"a": 1}, ["cuda:" + "9" * 99]],
        "model_filename": ["../../../etc/passwd", ["../x"], code, 1, "model.pt\0"],
        "result_extension": ["/../../../x", ".py", code, 5], "result_dtype": ["object", "O", 5],
        "label_tag": ["../../x", "a/b", 5, ""],
        "image": ["/etc/passwd", ["/etc/passwd"], code, "../secret.nii.gz", str(folder / "secret.nii.gz"), 5, {}, "",
        "straight\0"],
    }.items():  # fmt: skip
        for value in values:
            if value is None:
                continue
            yield f"{option} {str(value)[:40]}", "POST", infer, options(regions="anterior", **{option: value})
    for image in (
        "/etc/passwd", "../secret.nii.gz", "..%2Fsecret", str(folder / "secret.nii.gz"), "linked", "none", "%00",
        "a" * 5000,
        ".", "..", "~", "labels", "http://127.0.0.1/x", "straight.nii.gz/../../secret.nii.gz",
    ):  # fmt: skip
        yield f"scan {image[:40]}", "POST", f"/infer/{model}?image={image}&output=json", options(regions="anterior")
    for text in ("[1]", "5", "{", "null", '"x"', "[" * 10**5, "NaN", '{"a": NaN'):
        yield f"params {text[:20]}", "POST", infer, {"text": text, "files": {}}
    for name in (
        "x.py",
        "../../x.nii.gz",
        "x.nii.gz\0",
        "a" * 300 + ".nii.gz",
        ".nii.gz" + "x" * 250,
        "x." + "y" * 250,
        "x.exe",
    ):
        yield (
            f"uploaded scan {name[:30]!r}",
            "POST",
            f"/infer/{model}?output=json",
            {"files": {"file": (name, b"no scan")}},
        )
        yield (
            f"uploaded label {name[:30]!r}",
            "PUT",
            "/datastore/label?image=straight&tag=final",
            {"files": {"label": (name, b"x")}},
        )
    yield "an upload that is no scan", "POST", f"/infer/{model}?output=json", {"files": {"file": file}}
    yield "image and session", "POST", f"/infer/{model}?session_id=../../x&output=json", options()
    yield "session of a folder", "POST", f"/infer/{model}?session_id={folder}&output=json", options()
    for path in ("/infer/wsi/x?image=straight", "/infer/none?image=straight", "/infer/..%2F..?image=straight"):
        yield f"POST {path}", "POST", path, options()
    for name in ("../x", "/etc/x", "a/b", "x\\y", "%2e%2e%2fx", "..", ".hidden"):
        yield f"add image {name}", "PUT", f"/datastore/image?image={name}", {"files": {"file": file}}
        yield (
            f"label under tag {name}",
            "PUT",
            f"/datastore/label?image=straight&tag={name}",
            {"files": {"label": file}},
        )
        yield f"remove {name}", "DELETE", f"/datastore/label?id={name}&tag={name}", {}
        yield f"read {name}", "GET", f"/datastore/label?label={name}&tag={name}", {}
    yield "add code", "PUT", "/datastore/image?image=sitecustomize", {"files": {"file": ("sitecustomize.py", b"1")}}
    yield "label of no scan", "PUT", "/datastore/label?image=none&tag=final", {"files": {"label": file}}
    yield "information", "PUT", "/datastore/image/info?image=none", {"form": {"info": "[1]"}}
    for info in ('{"region_confidence": 5}', '{"strategy": 5}'):
        yield f"information {info}", "PUT", "/datastore/image/info?image=straight", {"form": {"info": info}}
    yield "no file", "PUT", "/datastore/label?image=straight&tag=final", {}
    yield "unpack an archive", "PUT", "/session/?uncompress=true", {"files": {"files": ("x.nii.gz", b"x")}}
    yield "session of code", "PUT", "/session/", {"files": {"files": ("x.py", b"x")}}
    yield "session ..", "GET", "/session/..", {}
    yield "session", "DELETE", "/session/x", {}
    for name, body in {
        "code's folder": {"bundle_path": str(folder / "studies"), "device": code}, "GPUs": {"gpus": {"a": 1}},
        "GPU": {"gpus": "0;x"},
        "epochs": {"max_epochs": [1]}, "long": {"device": "x" * 200_000}, "list": [1],
        "pretrained": {"pretrained": "maybe"},
    }.items():  # fmt: skip
        yield f"training: {name}", "POST", f"/train/{model}", {"body": body}
    yield "training of no model", "POST", "/train/none", {"body": {}}
    yield "training in the server", "POST", f"/train/{model}?run_sync=true", {"body": {}}
    for name, body in {
        "tag": {"label_tag": "../../x"}, "images": {"images": ["../x"]}, "number": {"images": 5},
        "workers": {"max_workers": 10**9},
        "size": {"max_batch_size": "x"}, "GPUs": {"gpus": [1]},
    }.items():  # fmt: skip
        yield f"batch: {name}", "POST", f"/batch/infer/{model}", {"body": body}
    yield "batch of what", "POST", f"/batch/infer/{model}?images=../x", {"body": {}}
    yield "scoring of nothing", "POST", "/scoring/none", {"body": {}}
    yield "scoring in the server", "POST", "/scoring/region_confidence?run_sync=true", {"body": {}}
    yield "proposal of nothing", "POST", "/activelearning/none", {"body": {}}
    yield "scans to score", "POST", "/activelearning/least_confident_region", {"body": {"max_scans": code}}
    yield "another model", "PUT", f"/model/{model}", {"files": {"file": ("model.pt", b"x")}}
    yield "no model", "DELETE", f"/model/{model}", {}
    yield "reload", "POST", "/reload", {}
    yield "beside the store", "POST", "/proxy/dicom/../../tools/shutdown", {"body": {}}
    yield "beside the pages", "GET", "/static/../../../../etc/passwd", {}
    yield "JSON that is none", "POST", f"/train/{model}", {"raw": b"{", "headers": {"Content-Type": "application/json"}}
    yield "deep JSON", "POST", f"/train/{model}", {"raw": b"[" * 10**5, "headers": {"Content-Type": "application/json"}}
    yield "2 MB of JSON", "POST", f"/train/{model}", {"body": {"x": "y" * 2**21}}
    yield "2 MB of options", "POST", infer, options(regions="y" * 2**21)
    yield "another page", "POST", f"/train/{model}", {"body": {}, "headers": {"Origin": "http://evil.example"}}
    yield "a page of this name", "GET", "/info/", {"headers": {"Host": "evil.example"}}
    yield "another page reads", "GET", "/datastore/", {"headers": {"Origin": "null"}}


def attacks(server: Any, model: str, folder: Path, app: Path, log: Path) -> Check:
    """Odd requests: each is refused in one line, or answered as if the odd were not there; nothing else happens."""
    studies, hacked = folder / "studies", folder / "hacked"
    (folder / "secret.nii.gz").write_bytes((studies / "straight.nii.gz").read_bytes())
    (studies / "linked.nii.gz").symlink_to(folder / "secret.nii.gz")
    time.sleep(2)  # the server sees it
    before, counts = _files(folder, log), Counter[str]()
    for name, method, path, how in odd_requests(model, folder):
        try:
            status, content = server(method, path, **how)
        except OSError as error:
            status, content = 0, str(error).encode()
        counts[f"{status // 100}xx"] += 1
        # "odd" options that are not known are left out, and the rest is answered
        harmless = status in (200, 307) and not any(
            word in name for word in ("scan ", "tag ", "image ", "add ", "read")
        )
        good = (400 <= status < 500 or harmless) and not hacked.exists() and (status == 200 or len(content) < LINE * 3)
        yield f"odd: {name}", good, f"{status} {content.decode(errors='replace')[:120] if status != 200 else ''}"
    status, content = server("POST", f"/infer/{model}?image=straight&output=json", {"regions": "anterior"}, {})
    yield "still serves", status == 200, f"{sum(counts.values())} odd requests: {dict(counts)}"
    new = _files(folder, log) - before
    yield "nothing was written", not new, str(sorted(new)[:5])
    (studies / "linked.nii.gz").unlink()


def _files(folder: Path, log: Path) -> set[Path]:
    """All but logs, temporary files of the server, and what Python compiles."""
    skipped = {log, folder / "app" / "logs"}
    return {
        file
        for file in folder.rglob("*")
        if not any(part.startswith((".part-", "__pycache__", ".lock")) for part in file.parts)
        and not any(file.is_relative_to(other) for other in skipped)
    }


def limits(server: Any, model: str) -> Check:
    """Twenty at once, and more than there may be; a request that is too large."""

    def ask(k: int) -> tuple[int, int, str]:
        regions = ["anterior", "posterior"][k % 2]
        status, content = server("POST", f"/infer/{model}?image=straight&output=json", {"regions": regions}, {})
        return k % 2, status, json.dumps(json.loads(content).get("regions", {}), sort_keys=True)

    start = time.monotonic()
    with ThreadPoolExecutor(21) as threads:
        answers = threads.map(ask, range(20))
        time.sleep(0.5)
        began = time.monotonic()
        status, _ = server("GET", "/info/")
        quick = time.monotonic() - began
        told = list(answers)
    different = {kind: len({text for k, _, text in told if k == kind}) for kind in (0, 1)}
    good = all(status == 200 for _, status, _ in told) and different == {0: 1, 1: 1}
    yield "20 requests at once", good, f"{time.monotonic() - start:.1f} s, answers per region: {different}"
    yield "the server answers meanwhile", status == 200 and quick < 5, f"/info/ after {quick:.2f} s"
    with ThreadPoolExecutor(60) as threads:
        statuses = Counter(status for _, status, _ in threads.map(ask, range(60)))
    yield "60 requests at once", set(statuses) == {200, 503} and statuses[200] >= 32, str(dict(statuses))
    host, _, port = server.address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"PUT /datastore/image?image=big HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {2**40}\r\n"
        connection.sendall(f"{head}Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode())
        answer = connection.recv(1000).decode()
    yield "an upload of a terabyte", " 413 " in answer.partition("\r\n")[0], answer.rpartition("\r\n")[2]


def trainings(server: Any, model: str, app: Path) -> Check:
    """Two at once; a stopped one; inference beside one."""
    request = {"device": "cpu", "max_epochs": 1, "steps_per_epoch": 1, "pretrained": False}  # it replaces no model
    history = app / "model" / model / "models" / "history.json"
    entries = len(json.loads(history.read_text())) if history.exists() else 0
    time.sleep(5)  # the pause between two
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: server("POST", f"/train/{model}", request), range(2)))
    statuses = sorted(status for status, _ in answers)
    line = next((content.decode() for status, content in answers if status == 409), "")
    yield "two trainings at once: the second is refused", statuses == [200, 409], f"{statuses} {line}"
    _, content = server("POST", f"/infer/{model}?image=straight&output=json", {"regions": "anterior"}, {})
    before = json.loads(content).get("regions")
    same, asked = True, 0
    while json.loads(server("GET", "/train/")[1])["status"] in ("SUBMITTED", "RUNNING"):
        _, content = server("POST", f"/infer/{model}?image=straight&output=json", {"regions": "anterior"}, {})
        same, asked = same and json.loads(content).get("regions") == before, asked + 1
        time.sleep(1)
    task = json.loads(server("GET", "/train/")[1])
    good = same and asked > 0 and task["status"] == "DONE"
    yield "inference beside a training", good, f"{task['status']}, {asked} answers meanwhile"
    added = len(json.loads(history.read_text())) - entries
    yield "the history has it", added == 1, f"{added} entry more"
    status, content = server("POST", f"/train/{model}", request)
    yield "a training at once after it", status == 429, f"{status} {content.decode()}"
    time.sleep(5)
    server("POST", f"/train/{model}", {**request, "max_epochs": 500, "steps_per_epoch": 5})
    _wait_for_training(server)
    server("DELETE", "/train/")
    task = json.loads(server("GET", "/train/")[1])
    yield "a training is stopped", task["status"] == "STOPPED", task["status"]
    torn = history.read_text()
    history.write_text(torn[: len(torn) // 2])
    status, content = server("GET", "/info/")
    told = json.loads(content)["train_stats"][model] if status == 200 else content
    yield "a torn history.json", status == 200 and "error" in told, str(told)[-150:]
    history.write_text(torn)


def _wait_for_training(server: Any) -> None:
    """Until the first epoch has begun, or a minute is over."""
    for _ in range(120):
        if any("loss" in line for line in json.loads(server("GET", "/train/")[1]).get("details", [])):
            return
        time.sleep(0.5)


def _processes(app: Path) -> list[int]:
    """Those that serve an app or work for it."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"MONAI_LABEL_APP_DIR={app}".encode() in environment and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def killed(start: Callable[[], Any], server: Any, model: str, app: Path) -> Check:
    """The server is killed during a training, by SIGKILL and by SIGTERM; ``start`` starts it, until it answers."""
    long = {"device": "cpu", "max_epochs": 1000, "steps_per_epoch": 5, "learning_rate": 1e-5}
    for name in (signal.SIGKILL, signal.SIGTERM):
        process = start()
        server("POST", f"/train/{model}", long)
        _wait_for_training(server)
        before = _processes(app)
        began = time.monotonic()
        process.send_signal(name)
        process.wait(30)
        while _processes(app) and time.monotonic() - began < 30:
            time.sleep(0.2)
        left = _processes(app)
        text = f"{len(before)} processes before, {len(left)} {time.monotonic() - began:.1f} s after"
        yield f"{name.name} during a training: no orphans", len(before) >= 1 and not left, text
    process = start()
    status, _ = server("POST", f"/infer/{model}?image=straight&output=json", {"regions": "anterior"}, {})
    yield "then the server starts and serves", status == 200, str(status)
    task = server.train(max_epochs=1, steps_per_epoch=1)
    yield "and trains", task["status"] == "DONE", f"{task['status']} {list(task['details'])[-1:]}"
    parts = [str(path.relative_to(app)) for path in app.rglob(".part-*")]
    yield "nothing is left of the killed", all(f"-{process.pid}-" in part for part in parts), str(parts)
    process.terminate()
    process.wait(60)
