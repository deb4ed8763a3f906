"""Segment one scan twice in OHIF with two choices of regions, check what OHIF shows, and take a picture of each.

    apt-get install orthanc orthanc-dicomweb chromium                           # Debian's
    make .venv-ohif/ready ENVIRONMENT=.venv-ohif && .venv-ohif/bin/python -m pip install playwright==1.65.2
    .venv-ohif/bin/python tests/integration/verify_ohif.py SCAN.nii.gz LABEL.nii.gz  # 2 minutes

SCAN and LABEL are of the Medical Decathlon's hippocampus task, 1 anterior and 2 posterior. The scan becomes a DICOM
series in Orthanc; our MONAI Label server reads it from there by DICOMweb; Chromium opens OHIF, ticks the check boxes
and presses Run, as a user would. All of it on loopback, with temporary storage, and ended with the script. Checked:

- OHIF's panel connects and offers a check box per region
- what each Run asks the server for, and that it answers 200
- the voxels of each region that OHIF then shows: of all regions asked for, and of none other
- that they lie where they should: Dice with LABEL in OHIF's own volume
- that a Run with no box ticked is refused with 400, OHIF says so, and the server's log says why
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import fire
import nibabel
import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.make_series import make_series
from conemos_bundle.utils.paths import bundle_folder
from PIL import Image

MODEL = "conemos_hippocampus"
REGIONS = ["hippocampus", "anterior", "posterior"]
# OHIF makes colors of the names, and posterior's is nearly black; these are for the pictures
COLORS = {"hippocampus": [255, 200, 0, 255], "anterior": [0, 210, 130, 255], "posterior": [235, 60, 160, 255]}
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
SET_COLORS = """colors => {
    const id = services.viewportGridService.getState().activeViewportId;
    for (const viewport of services.viewportGridService.getState().viewports.keys())
        for (const segment of Object.values(services.segmentationService.getSegmentations()[0].segments))
            cornerstoneTools.segmentation.config.color.setSegmentIndexColor(
                viewport, '1', segment.segmentIndex, colors[segment.label]);
}"""
SHOWN = """() => {
    const volume = services.segmentationService.getLabelmapVolume('1');
    const segments = Object.values(services.segmentationService.getSegmentations()[0].segments);
    return {values: Object.fromEntries(segments.map(segment => [segment.label, segment.segmentIndex])),
            sizes: volume.dimensions, voxels: Array.from(volume.voxelManager.getCompleteScalarDataArray())};
}"""


@contextmanager
def running(command: Sequence[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server that ends, with all that it started, when this is left."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path, seconds: int) -> None:
    """Until ``address`` answers.

    Raises:
        UserError: the server has ended, or is too slow.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except OSError:
            time.sleep(1)
    print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
    raise UserError(f"{address} does not answer; its log is above")


def free_port(port: int = 0) -> int:
    """``port``, or any.

    Raises:
        UserError: another program has it.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(f"port {port} is in use; end what listens there, or pass another --port") from None
        return int(probe.getsockname()[1])


@contextmanager
def orthanc(folder: Path) -> Iterator[str]:
    """The address of an Orthanc with DICOMweb that keeps its scans in ``folder``."""
    address = f"http://127.0.0.1:{free_port()}"
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": int(address.rsplit(":", 1)[1]),
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [PLUGIN],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
    log = folder / "orthanc.log"
    with running(["Orthanc", str(folder / "orthanc.json")], log) as process:
        wait_for(f"{address}/system", process, log, 60)
        yield address


def upload(series: Path, address: str) -> str:
    """Store a DICOM series; returns the UID of its study, which DICOMweb then lists."""
    for file in sorted(series.iterdir()):
        urllib.request.urlopen(urllib.request.Request(f"{address}/instances", file.read_bytes()), timeout=30).close()
    with urllib.request.urlopen(f"{address}/dicom-web/studies", timeout=30) as answer:
        study: str = json.load(answer)[0]["0020000D"]["Value"][0]
    return study


@contextmanager
def label_server(folder: Path, environment: Path, store: str, port: int) -> Iterator[str]:
    """The address of MONAI Label over a DICOMweb store, started as users start it."""
    address = f"http://127.0.0.1:{free_port(port)}"
    starter = [sys.executable, str(bundle_folder() / "scripts" / "start_label_server.py"), "--port", str(port)]
    options = ["--studies", f"{store}/dicom-web", "--environment", str(environment), "--app", str(folder / "app")]
    log = folder / "label_server.log"
    settings = {
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER": '{"Modality": "MR"}',
        "MONAI_LABEL_DICOMWEB_CACHE_PATH": str(folder / "cache"),
    }
    with running([*starter, *options], log, **settings) as process:
        wait_for(f"{address}/info/", process, log, 1800)  # the first start installs
        yield address


def open_panel(browser: Any, address: str, study: str) -> Any:
    """OHIF with the study, its MONAI Label panel connected; the list of studies is folded up to give the scan room."""
    page = browser.new_page(viewport={"width": 1200, "height": 620})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/ohif/monai-label?StudyInstanceUIDs={study}")
    page.get_by_text("Confirm and Hide").click()
    page.locator("[data-cy=side-panel-header-left]").click()
    page.locator("#monailabelServerURL").fill(f"{address}/")
    page.locator("#monailabelServerURL").locator("xpath=following::button[1]").click()
    page.get_by_title("Run Segmentation", exact=True).wait_for()
    page.wait_for_timeout(3000)  # the panel sets its colors a second later
    page.evaluate(SET_COLORS, COLORS)
    return page


def choose(page: Any, regions: Sequence[str]) -> list[str]:
    """Tick the check boxes of these regions alone; returns the boxes that there are."""
    page.get_by_text("Options / Configurations").click()
    boxes = page.locator(".optionsConfigTable tr", has=page.locator("input[type=checkbox]"))
    names = [str(row.locator("td").first.inner_text()) for row in boxes.all()]
    for row, name in zip(boxes.all(), names, strict=True):
        row.locator("input").set_checked(name.removeprefix("region_") in regions)
    page.get_by_text("Confirm", exact=True).click()
    return names


def segment(page: Any) -> tuple[int, dict[str, Any], str]:
    """Press *Run*: the answer's status, what was asked for, and how long it took and what OHIF says of it."""
    start = time.monotonic()
    with page.expect_response(lambda answer: f"/infer/{MODEL}" in answer.url, timeout=300_000) as waiting:
        page.get_by_title("Run Segmentation", exact=True).click()
    seconds = time.monotonic() - start
    asked = waiting.value.request.post_data.split('name="params"')[1].split("\r\n")[2]
    told = page.get_by_text("Running Segmentation - Successful").or_(page.get_by_text("Failed to Run Segmentation"))
    text = f"{seconds:.1f} s, {told.first.inner_text()}"
    told.first.wait_for(state="hidden")
    return waiting.value.status, {k: v for k, v in json.loads(asked).items() if k.startswith("region")}, text


def shown_masks(page: Any) -> dict[str, np.ndarray]:
    """The masks ``(W, H, D)`` that OHIF shows, each region's."""
    shown = page.evaluate(SHOWN)
    volume = np.asarray(shown["voxels"]).reshape(shown["sizes"][::-1]).transpose(2, 1, 0)
    return {region: volume == value for region, value in shown["values"].items()}


def picture(page: Any, file: Path) -> None:
    """What OHIF shows, and beneath it the options that it has kept."""
    viewer = Image.open(BytesIO(page.screenshot()))
    page.get_by_text("Options / Configurations").click()
    options = Image.open(BytesIO(page.locator(".optionsConfigTable").screenshot()))
    page.get_by_text("Cancel", exact=True).click()
    both = Image.new("RGB", (viewer.width, viewer.height + options.height + 20))
    both.paste(viewer)
    both.paste(options, ((viewer.width - options.width) // 2, viewer.height + 10))
    both.save(file, optimize=True)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def checks(page: Any, label: Path, pictures: Path) -> Iterator[tuple[str, bool, str]]:
    """A name, whether it is as it should be, and figures."""
    values = np.asarray(nibabel.load(label).dataobj)
    truth = {"anterior": values == 1, "posterior": values == 2, "hippocampus": values > 0}
    for name, regions in (("all_regions", REGIONS), ("anterior", ["anterior"])):
        boxes = choose(page, regions)
        yield f"{name}: check boxes", boxes == [f"region_{region}" for region in REGIONS], ", ".join(boxes)
        status, asked, text = segment(page)
        yield f"{name}: Run", status == 200 and "Successful" in text, f"asked {asked or 'all'}, {status}, {text}"
        masks = shown_masks(page)
        voxels = {region: int(masks[region].sum()) for region in REGIONS}
        others = [region for region in masks if region not in regions and masks[region].any()]
        yield f"{name}: voxels shown", all(voxels[r] for r in regions) and not others, str(voxels)
        # the label map paints inner regions over the outer one: the hippocampus is all of them
        masks["hippocampus"] = np.any(list(masks.values()), axis=0)
        scores = {region: round(dice(masks[region], truth[region]), 3) for region in regions}
        yield f"{name}: Dice with the reference", min(scores.values()) > 0.75, str(scores)
        picture(page, pictures / f"ohif_{name}.png")
    choose(page, [])
    status, asked, text = segment(page)
    with urllib.request.urlopen(f"{page.url.split('/ohif')[0]}/logs/?lines=100&text=true", timeout=30) as answer:
        lines = [line for line in answer.read().decode().splitlines() if "refused: " in line]
    yield "no box ticked", status == 400 and "Failed" in text, f"{status}, {text}"
    yield "the log says why", "no region is ticked" in "".join(lines), "".join(lines)[-100:]


def main(
    scan: str, label: str, pictures: str = "docs/images", environment: str = ".venv-label", port: int = 8000
) -> None:
    """Run OHIF, check, end all; exit code 1 where something is not as it should be.

    Args:
        scan: NIfTI file.
        label: its reference.
        pictures: folder for ``ohif_all_regions.png`` and ``ohif_anterior.png``.
        environment: where the starter has put, or puts, MONAI Label.
        port: of the MONAI Label server.
    """
    from playwright.sync_api import sync_playwright

    failed = 0
    try:
        chromium = shutil.which("chromium")
        if not (chromium and shutil.which("Orthanc") and Path(PLUGIN).exists()):
            raise UserError("needs Debian's packages orthanc, orthanc-dicomweb and chromium; install them with apt-get")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verify_ohif_")))
            make_series(scan, str(folder / "series"))
            store = stack.enter_context(orthanc(folder))
            study = upload(folder / "series", store)
            address = stack.enter_context(label_server(folder, Path(environment).absolute(), store, port))
            print(f"{len(list((folder / 'series').iterdir()))} slices in Orthanc, {MODEL} at {address}", flush=True)
            # swiftshader draws without a GPU; root has no sandbox
            arguments = ["--enable-unsafe-swiftshader", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
            driver = stack.enter_context(sync_playwright())
            browser = driver.chromium.launch(executable_path=chromium, args=arguments)
            stack.callback(browser.close)
            Path(pictures).mkdir(parents=True, exist_ok=True)
            for name, good, text in checks(open_panel(browser, address, study), Path(label), Path(pictures)):
                failed += not good
                print(f"{'ok ' if good else 'BAD'} {name}: {text}", flush=True)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"{failed} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    fire.Fire(main)
