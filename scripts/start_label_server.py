"""Install MONAI Label 0.8.5 in an environment of its own, write the app folder of a bundle, and serve it.

    python scripts/start_label_server.py --studies SCANS           # http://127.0.0.1:8000; Ctrl+C ends it

Needs Python 3.11 and nothing else: the first start installs what it needs (some GB with torch), each file held against
its hash in requirements/. The scans are the images in SCANS, or a DICOMweb address. What annotators save goes to
SCANS/labels, and what they train to the app folder: the bundle itself stays as it is. docs/monai_label.md says what to
think of before others may ask it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = [ROOT / "requirements" / f"{lock}.txt" for lock in ("build", "label", "monailabel")]
MONAI_LABEL = "monailabel==0.8.5"


def environment_python(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(folder: Path) -> None:
    """Make the environment, unless it is complete."""
    done = folder / f"{MONAI_LABEL}.installed"
    wanted = "\n".join(lock.read_text(encoding="utf-8") for lock in LOCKS)
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return
    if sys.version_info[:2] != (3, 11):
        sys.exit("error: MONAI Label 0.8.5 is installed for Python 3.11; start this script with it")
    print(f"installing {MONAI_LABEL} in {folder}", flush=True)
    if not environment_python(folder).exists():
        venv.create(folder, with_pip=True)
    pip = [str(environment_python(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for lock in LOCKS:  # each names all there is to install; what is built, is built with build.txt
        subprocess.run(
            [*pip, "--no-deps", "--no-build-isolation", "--require-hashes", "--requirement", str(lock)], check=True
        )
    done.write_text(wanted, encoding="utf-8")


def reject_unsafe(options: argparse.Namespace, local: bool) -> None:
    """End where other machines could ask without any login, unless that is meant; warn where others could listen."""
    if bool(options.ssl_certfile) != bool(options.ssl_keyfile):
        sys.exit("error: --ssl_certfile and --ssl_keyfile go together")
    if options.authentication and not options.authentication.startswith(("http://", "https://")):
        sys.exit("error: --authentication: give the realm's address, such as https://login.example/realms/monailabel")
    if options.authentication and options.without_authentication:
        sys.exit("error: --authentication or --without_authentication, not both")
    if not local and not options.authentication and not options.without_authentication:
        sys.exit(
            f"error: --host {options.host}: whoever reaches it could read the scans, change labels and train, without "
            "any login; pass --authentication REALM, or --without_authentication where the network keeps others out"
        )
    if not local and not options.ssl_certfile:
        print("warning: scans and tokens travel unencrypted; pass --ssl_certfile and --ssl_keyfile", file=sys.stderr)


def main() -> None:
    """Install, write, serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", required=True, help="folder of scans, or a DICOMweb address")
    parser.add_argument("--bundle", type=Path, default=ROOT, help="the bundle; default: the hippocampus model")
    parser.add_argument("--name", help="the model's name in the clients; default: the bundle's")
    parser.add_argument("--app", type=Path, default=Path("label_app"), help="app folder to write; default: label_app")
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv-label", help="where to install")
    parser.add_argument("--region_bundles", action="store_true", help="add a thin bundle per region, for 3D Slicer")
    parser.add_argument("--host", default="127.0.0.1", help="127.0.0.1 (default): this machine only")
    parser.add_argument("--port", type=int, default=8000, help="OHIF's panel expects 8000, the default")
    parser.add_argument(
        "--authentication", metavar="REALM", help="who asks needs a token of this OpenID realm (Keycloak): its address"
    )
    parser.add_argument("--without_authentication", action="store_true", help="serve other machines without any login")
    parser.add_argument(
        "--origin", action="append", default=[], help="a web page that may ask too, such as https://viewer.example"
    )
    parser.add_argument("--ssl_certfile", type=Path, help="certificate, for https")
    parser.add_argument("--ssl_keyfile", type=Path, help="its key")
    parser.add_argument("--upload_mb", type=int, default=2048, help="the largest upload, in MB; default: 2048")
    parser.add_argument("--waiting", type=int, default=32, help="requests that may wait their turn; default: 32")
    parser.add_argument("--seconds", type=float, default=600, help="that a request may take; default: 600")
    parser.add_argument("--training_pause", type=float, default=60, help="seconds between trainings; default: 60")
    parser.add_argument("--no_start", action="store_true", help="install and write, but do not serve")
    options = parser.parse_args()
    # absolute, since the server starts in the app's folder, where its log goes
    folder, app = options.environment.absolute(), options.app.absolute()
    local = options.host in ("127.0.0.1", "localhost", "::1")
    reject_unsafe(options, local)
    is_address = options.studies.startswith(("http://", "https://"))
    studies = options.studies if is_address else str(Path(options.studies).absolute())
    if not is_address and not Path(studies).is_dir():
        sys.exit(f"error: {studies}: no such folder; name the folder of the scans")
    install(folder)
    python = str(environment_python(folder))
    paths = [str(app), str(ROOT), os.environ.get("PYTHONPATH", "")]
    # scoring at each start would segment every scan: clients ask for it. On the path is dcmqi, which MONAI Label
    # would fetch from GitHub at every start
    environment = {
        "MONAI_LABEL_AUTO_UPDATE_SCORING": "false",
        "MONAI_LABEL_SESSION_PATH": str(app / "sessions"),
        "MONAI_LABEL_DATASTORE_FILE_EXT": '["*.nii.gz", "*.nii", "*.nrrd"]',
        **os.environ,
        "CONEMOS_LABEL_ORIGINS": " ".join(options.origin),
        "CONEMOS_LABEL_LOCAL": "true" if local else "",
        "CONEMOS_LABEL_UPLOAD": str(options.upload_mb * 2**20),
        "CONEMOS_LABEL_WAITING": str(options.waiting),
        "CONEMOS_LABEL_SECONDS": str(options.seconds),
        "CONEMOS_LABEL_PAUSE": str(options.training_pause),
        "PATH": os.pathsep.join((str(Path(python).parent), os.environ.get("PATH", ""))),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
    }
    if options.authentication:
        environment["MONAI_LABEL_AUTH_ENABLE"] = "true"
        environment["MONAI_LABEL_AUTH_REALM_URI"] = options.authentication.rstrip("/")
    write = [python, "-m", "conemos_bundle", "label-app", str(app), "--bundle", str(options.bundle.absolute())]
    write += ["--region_bundles"] if options.region_bundles else []
    write += ["--name", options.name] if options.name else []
    written = subprocess.run(write, env=environment)
    if written.returncode or options.no_start:
        sys.exit(written.returncode)
    serve = [
        "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", studies,
        "--host", options.host, "--port", str(options.port),
        "--uvicorn_app", "conemos_bundle.hosts.label.asgi:app", "--limit_concurrency", "512",
    ]  # fmt: skip
    for name in ("ssl_certfile", "ssl_keyfile"):
        serve += [f"--{name}", str(getattr(options, name).absolute())] if getattr(options, name) else []
    protocol = "https" if options.ssl_certfile else "http"
    print(f"{protocol}://{options.host}:{options.port} serves {studies}", flush=True)
    os.chdir(app)
    os.execve(python, [python, *serve], environment)


if __name__ == "__main__":
    main()
