"""Run MONAI Label with the hippocampus bundle on loopback, end to end, and print a line per check.

    python tests/integration/verify_label.py SCANS [--only inference]       # some minutes

SCANS is a folder of images/*.nii.gz and labels/*.nii.gz, 1 anterior and 2 posterior, as in the Medical Decathlon.
Needs the environment that start_label_server.py makes (it is made if missing), and this package for its own part.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fire
import label_new_region
import label_tokens
import label_trust
import nibabel
import numpy as np
from conemos_bundle.cli.predict import predict
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd, write_seg_nrrd
from scipy.spatial.transform import Rotation

MODEL = "conemos_hippocampus"
REGIONS = ["hippocampus", "anterior", "posterior"]
EVIL = "$__import__('pathlib').Path('{}').touch()"


class Server:
    """Requests to the server at ``address``."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        files: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        text: str | None = None,
        form: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> tuple[int, bytes]:
        """Status and content.

        ``body`` is sent as JSON, with ``files`` (paths, or names and contents) as the form field ``params``; ``text``
        stands for that JSON, ``form`` are other fields, and ``raw`` is sent as it is.
        """
        data, all_headers = json.dumps(body or {}).encode(), {"Content-Type": "application/json", **(headers or {})}
        if files is not None or form is not None:
            mark = uuid.uuid4().hex
            fields = form or {"params": data.decode() if text is None else text}
            parts = [
                f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
                for name, value in fields.items()
            ]
            for name, file in (files or {}).items():
                file_name, content = (file.name, file.read_bytes()) if isinstance(file, Path) else file
                head = f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{file_name}"\r\n\r\n'
                parts.append(head.encode() + content + b"\r\n")
            data = b"".join([*parts, f"--{mark}--\r\n".encode()])
            all_headers["Content-Type"] = f"multipart/form-data; boundary={mark}"
        safe = urllib.parse.quote(path, safe="/?&=%.~:")
        request = urllib.request.Request(f"{self.address}{safe}", raw or data, all_headers, method=method)
        if method == "GET":
            request.data = None
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def infer(self, image: str, output: str, model: str = MODEL, **request: Any) -> tuple[int, Any]:
        """Status, and the JSON, the label map's image or the path of a ``.seg.nrrd``."""
        status, content = self("POST", f"/infer/{model}?image={image}&output={output}", request, {})
        if output == "json" or status != 200:
            return status, json.loads(content)
        suffix = ".seg.nrrd" if request.get("output_format") == "seg.nrrd" else ".nii.gz"
        file = Path(tempfile.mkdtemp(), "answer" + suffix)
        file.write_bytes(content)
        return status, file if suffix == ".seg.nrrd" else nibabel.load(file)

    def train(self, trainer: str = MODEL, **request: Any) -> dict[str, Any]:
        """The task of a training, once it has ended; between two there is a pause."""
        while self("POST", f"/train/{trainer}", {"device": "cpu", **request})[0] == 429:
            time.sleep(1)
        return self.wait("/train/")

    def wait(self, path: str, minutes: float = 15) -> dict[str, Any]:
        """The task at ``path``, once it has ended; ``seconds`` says how long that took.

        A task that has not is stopped: its ``status`` stays RUNNING.
        """
        start = time.monotonic()
        while True:
            task: dict[str, Any] = json.loads(self("GET", path)[1])
            task["seconds"] = round(time.monotonic() - start)
            if task["status"] not in ("SUBMITTED", "RUNNING"):
                return task
            if task["seconds"] > 60 * minutes:
                self("DELETE", path)
                return task
            time.sleep(1)


def make_studies(source: Path, studies: Path) -> dict[str, Path]:
    """Three scans: one as it is, one oblique and permuted, and one more; returns the reference label maps."""
    studies.mkdir()
    files = sorted((source / "images").glob("*.nii.gz"))[:3]
    turn = np.eye(4)
    # a head may lie so; turned further, another axis would be the nearest to left-right, and the network lost
    turn[:3, :3] = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix()
    labels: dict[str, Path] = {}
    for name, file in zip(["straight", "oblique", "third"], files, strict=True):
        image, label = (nibabel.load(source / folder / file.name) for folder in ("images", "labels"))
        if name == "oblique":
            image, label = (
                nibabel.Nifti1Image(np.asarray(i.dataobj).transpose(2, 0, 1), (turn @ i.affine)[:, [2, 0, 1, 3]])
                for i in (image, label)
            )
        nibabel.save(image, studies / f"{name}.nii.gz")
        labels[name] = studies.parent / f"{name}_label.nii.gz"
        nibabel.save(label, labels[name])
    return labels


def centroid(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """In mm."""
    return (affine @ [*np.mean(np.nonzero(mask), axis=1), 1])[:3]


def reference(label: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Masks and affine of a scan's reference."""
    image = nibabel.load(label)
    values = np.asarray(image.dataobj)
    return {"hippocampus": values > 0, "anterior": values == 1, "posterior": values == 2}, image.affine


def inference(server: Server, studies: Path, labels: dict[str, Path], hacked: Path) -> Iterator[tuple[str, bool, str]]:
    """Checks of inference."""
    status, told = server.infer("straight", "json")
    voxels = {region: size["voxels"] for region, size in told["regions"].items()}
    yield "all regions", status == 200 and list(voxels) == REGIONS and min(voxels.values()) > 0, str(voxels)
    for request in ({"regions": ["anterior"]}, {"regions": "posterior,hippocampus"}, {"region_hippocampus": False}):
        status, told = server.infer("straight", "json", **request)
        same = {region: size["voxels"] for region, size in told["regions"].items()}
        yield f"subset {request}", status == 200 and all(voxels[r] == n for r, n in same.items()), str(same)
    bad: list[dict[str, Any]] = [
        {"regions": "femur"}, {"regions": {"a": 1}}, {f"region_{r}": False for r in REGIONS}, {"output_format": "png"},
        {"device": "tpu"}, {"model_filename": "../../../x.pt"},
        *({option: EVIL.format(hacked)} for option in ("regions", "region_anterior", "output_format", "device")),
        {"regions": [EVIL.format(hacked)]}, {"regions": "@network_def"}, {"region_anterior": "%/etc/hosts::a"},
    ]  # fmt: skip
    for request in bad:
        status, told = server.infer("straight", "json", **request)
        yield f"refused {request}", status == 400 and not hacked.exists(), f"{status} {told.get('detail')}"
    server.infer("straight", "json")
    yield "nothing of it was evaluated, then or later", not hacked.exists(), ""

    _, image = server.infer("oblique", "image", regions=["hippocampus", "posterior"])
    scan = nibabel.load(studies / "oblique.nii.gz")
    off = float(np.abs(image.affine - scan.affine).max())
    values = sorted(int(v) for v in np.unique(image.dataobj))
    yield "label map, oblique", image.shape == scan.shape and off < 1e-4, f"values {values}, affine off by {off:.1e}"
    _, file = server.infer("oblique", "image", output_format="seg.nrrd")
    masks, affine, names = read_seg_nrrd(file)
    truth, grid = reference(labels["oblique"])
    predict(str(studies / "oblique.nii.gz"), output=str(studies.parent / "predicted"), output_format="seg.nrrd")
    own, own_affine, own_names = read_seg_nrrd(studies.parent / "predicted" / "oblique.seg.nrrd")
    for region, mask in zip(names, masks, strict=True):
        predicted = own[own_names.index(region)]
        same = float(np.linalg.norm(centroid(mask, affine) - centroid(predicted, own_affine)))
        error = float(np.linalg.norm(centroid(mask, affine) - centroid(truth[region], grid)))
        text = f"centroid {same:.4f} mm from `conemos predict`'s, {error:.2f} mm from the reference's"
        yield f"seg.nrrd, oblique: {region}", same < 0.01 and error < 2, text
    inside = (masks[0] & (masks[1] | masks[2])).sum()
    yield "seg.nrrd keeps overlaps", names == REGIONS and inside > 1000, f"{inside} voxels in two segments"
    status, image = server.infer("straight", "image", f"{MODEL}_posterior")
    count = int((np.asarray(image.dataobj) == 1).sum())
    yield "thin bundle", status == 200 and count == voxels["posterior"], f"{count} voxels of value 1"
    (studies / "empty.nii.gz").unlink(missing_ok=True)
    empty = studies.parent / "empty.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((16, 16, 16), np.float32), np.eye(4)), empty)
    status, content = server("POST", f"/infer/{MODEL}?output=json", {}, {"file": empty})
    yield "a scan that is empty", status == 400, f"{status} {json.loads(content).get('detail', '')[-60:]}"


def batch(server: Server, studies: Path) -> Iterator[tuple[str, bool, str]]:
    """A region each, under a tag of its own."""
    for region in ("anterior", "posterior"):
        request = {"device": "cpu", "multi_gpu": False, "regions": region, "label_tag": region, "max_workers": 1}
        server("POST", f"/batch/infer/{MODEL}?images=all", request)
        status = server.wait("/batch/infer")["status"]
        found = {
            file.name: sorted(int(value) for value in np.unique(nibabel.load(file).dataobj))
            for file in sorted((studies / "labels" / region).glob("*.nii.gz"))
        }
        good = len(found) == 3 and all(v == [0, REGIONS.index(region) + 1] for v in found.values())
        yield f"batch inference of {region}", status == "DONE" and good, f"{status}, values {found}"


def learning(server: Server, app: Path, folder: Path, labels: dict[str, Path]) -> Iterator[tuple[str, bool, str]]:
    """Active learning and training."""
    server("POST", "/scoring/region_confidence", {})
    task = server.wait("/scoring/")
    yield "scoring", task["status"] == "DONE" and '"scored": 3' in str(task["details"]), str(list(task["details"])[-1:])
    proposals = [json.loads(server("POST", "/activelearning/least_confident_region", {})[1]) for _ in range(2)]
    shown = [(told["id"], told["region"], told["confidence"]) for told in proposals]
    yield "next scan and region, twice", shown[0] != shown[1] and shown[0][2] <= shown[1][2], str(shown)

    masks, affine = reference(labels["straight"])
    files = {
        "straight": folder / "one_region.nii.gz",
        "oblique": folder / "two.seg.nrrd",
        "third": folder / "third.nii.gz",
    }
    nibabel.save(nibabel.Nifti1Image(masks["anterior"].astype(np.uint8), affine), files["straight"])
    masks, affine = reference(labels["oblique"])
    two = np.stack([masks["hippocampus"], masks["anterior"]]).astype(np.uint8)
    write_seg_nrrd(files["oblique"], two, affine, ["hippocampus", "anterior"])
    masks, affine = reference(labels["third"])
    nibabel.save(nibabel.Nifti1Image(masks["anterior"].astype(np.uint8) * 2, affine), files["third"])
    for name, file in files.items():
        told = {"label_info": [{"name": "anterior", "idx": 1}]} if name == "straight" else {}
        server("PUT", f"/datastore/label?image={name}&tag=final", told, {"label": file})
    told = json.loads(server("POST", "/activelearning/least_confident_region", {})[1])
    yield "then one that nobody annotated", told["region"] not in told["annotated"], f"{told['region']} in {told['id']}"

    models = app / "model" / MODEL / "models"
    old = (models / "model.pt").read_bytes()
    worse: dict[str, Any] = {"max_epochs": 1, "steps_per_epoch": 1, "pretrained": False}
    careful: dict[str, Any] = {"max_epochs": 1, "steps_per_epoch": 2, "learning_rate": 2e-5}
    for request, replaced in ((worse, False), (careful, None)):
        task = server.train(**request)
        last = json.loads(server("GET", "/info/")[1])["train_stats"][MODEL]
        kept = (models / "model.pt").read_bytes() == old
        good = task["status"] == "DONE" and kept is not last["replaced"] and replaced in (None, last["replaced"])
        if last.get("backup"):
            good = good and Path(last["backup"]).read_bytes() == old
        name = "a worse training does not overwrite" if replaced is False else "training from partial labels"
        text = f"{task['status']} after {task['seconds']} s, {last.get('reason')}, backup: {'backup' in last}"
        yield name, good, f"{text}, not annotated: {last.get('not_annotated')}"
    lists = sorted((app / "training").glob("*/datalist.json"))
    data = json.loads(lists[-1].read_text(encoding="utf-8"))
    saved = {
        scan["subject"]: [r for r, mask in scan["masks"].items() if "saved/" in str(mask)]
        for scan in [*data["training"], *data["validation"]]
    }
    expected = {"straight": ["anterior"], "oblique": ["hippocampus", "anterior"], "third": ["anterior"]}
    yield "only what was saved is annotated", saved == expected, str(saved)
    status, _ = server.infer("straight", "json")
    yield "the model is served on", status == 200, str(status)


class Starter:
    """Starts the server, and waits until it answers."""

    def __init__(self, folder: Path, environment: Path, server: Server) -> None:
        self.server, self.log = server, folder / "server.log"
        script = str(Path(__file__).parents[2] / "scripts" / "start_label_server.py")
        port = server.address.rpartition(":")[2]
        self.command = [
            sys.executable, script, "--studies", str(folder / "studies"), "--app", str(folder / "app"),
            "--environment", str(environment), "--port", port, "--region_bundles",
        ]  # fmt: skip

    def __call__(self, *options: str) -> subprocess.Popen[bytes]:
        """The process; ``options`` are more of the starter's."""
        with self.log.open("ab") as log:
            process = subprocess.Popen([*self.command, *options], stdout=log, stderr=log)
        for _ in range(1800):
            try:
                self.server("GET", "/info/")
                return process
            except OSError:
                if process.poll() is not None:
                    sys.exit(f"error: the server ended, see {self.log}")
                time.sleep(1)
        sys.exit(f"error: the server does not answer, see {self.log}")


def main(scans: str, environment: str = ".venv-label", port: int = 8137, only: str | Sequence[str] = "") -> None:
    """Start the server, check, stop it; ``only``: some of the names below, with commas between them."""
    folder = Path(tempfile.mkdtemp(prefix="verify_label_")).resolve()
    studies, app, hacked = folder / "studies", folder / "app", folder / "hacked"
    labels = make_studies(Path(scans), studies)
    server, failed, number = Server(f"http://127.0.0.1:{port}"), 0, 0
    place = Path(environment).absolute()
    start, taught = (Starter(part, place, server) for part in (folder, folder / "taught"))
    quick = ("--training_pause", "3")
    checks: dict[str, Callable[[], Iterator[tuple[str, bool, str]]]] = {
        "inference": lambda: inference(server, studies, labels, hacked),
        "batch": lambda: batch(server, studies),
        "learning": lambda: learning(server, app, folder, labels),
        "attacks": lambda: label_trust.attacks(server, MODEL, folder, app, start.log),
        "limits": lambda: label_trust.limits(server, MODEL),
        "trainings": lambda: label_trust.trainings(server, MODEL, app),
        # these start servers of their own
        "killed": lambda: label_trust.killed(lambda: start(*quick), server, MODEL, app),
        "authentication": lambda: label_tokens.authentication(start, server, MODEL, place / "bin" / "python"),
        "new_region": lambda: label_new_region.new_region(taught, server, Path(scans), folder / "taught"),
    }
    process = None
    try:
        for group in ([only] if isinstance(only, str) else only) if only else checks:
            own = group in ("killed", "authentication", "new_region")
            if own and process is not None:
                process.terminate()
                process.wait()
                process = None
            elif not own and process is None:
                process = start(*quick)
                print(f"serves {', '.join(json.loads(server('GET', '/info/')[1])['models'])}", flush=True)
            for name, good, text in checks[group]():
                failed, number = failed + (not good), number + 1
                print(f"{'ok ' if good else 'BAD'} {name}: {text}".rstrip(": "), flush=True)
    finally:
        if process is not None:
            process.terminate()
            process.wait()
    if not failed:
        shutil.rmtree(folder)
    print(f"{failed} of {number} failed" + (f", see {folder}" if failed else ""))
    sys.exit(bool(failed))


if __name__ == "__main__":
    fire.Fire(main)
