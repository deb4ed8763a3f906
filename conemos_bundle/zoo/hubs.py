"""Files of a packed bundle that hubs ask for."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import yaml
from conemos_bundle.errors import UserError

TEMPLATES = Path(__file__).parent
LARGEST_IN_GIT = 1024 * 1024  # bytes; the Model Zoo takes no larger file into its repository
CHECKSUMS = "SHA256SUMS"


def sha256(file: Path) -> str:
    """The sum of a file, as hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def write_checksums(bundle: Path) -> Path:
    """Write ``models/SHA256SUMS`` of all weights and exports, which ``sha256sum --check`` reads: no host checks a hash.

    Args:
        bundle: its folder.
    """
    models = bundle / "models"
    files = sorted(file for file in models.iterdir() if file.is_file() and file.name != CHECKSUMS)
    (models / CHECKSUMS).write_text("".join(f"{sha256(file)}  {file.name}\n" for file in files), encoding="utf-8")
    return models / CHECKSUMS


def write_large_files(bundle: Path, url: str) -> list[str]:
    """Write ``large_files.yml``: where the Model Zoo's CI finds what is too large for its repository.

    Args:
        bundle: its folder.
        url: address of a folder that holds these files under their names.

    Returns:
        their paths in the bundle; leave them out of a pull request.

    Raises:
        UserError: the address is none.
    """
    if not str(url).startswith(("https://", "http://")):
        raise UserError(f"--weights_url {url!r}: give the http(s) address of the folder that will hold the weights")
    large = sorted(file for file in bundle.rglob("*") if file.is_file() and file.stat().st_size > LARGEST_IN_GIT)
    entries = [
        {
            "path": file.relative_to(bundle).as_posix(),
            "url": f"{str(url).rstrip('/')}/{file.name}",
            "hash_val": sha256(file),
            "hash_type": "sha256",
        }
        for file in large
    ]
    text = yaml.safe_dump({"large_files": entries}, sort_keys=False, width=1000)
    (bundle / "large_files.yml").write_text(text, encoding="utf-8")
    return [entry["path"] for entry in entries]


def write_hugging_face_card(bundle: Path, metadata: dict[str, Any]) -> None:
    """Write ``README.md`` (the card, with the fields that the hub reads) and ``.gitattributes`` into the root.

    Args:
        bundle: its folder, with ``docs/README.md``.
        metadata: the bundle's.
    """
    fields = {
        "library_name": "monai",
        "license": "apache-2.0",
        "pipeline_tag": "image-segmentation",
        "tags": ["monai", "medical", "image-segmentation", "partial-annotations"],
        "model_name": metadata["name"],
    }
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8").replace("](", "](docs/")
    card = card.replace("](docs/http", "](http")
    header = yaml.safe_dump(fields, sort_keys=False)
    (bundle / "README.md").write_text(f"---\n{header}---\n\n{card}", encoding="utf-8")
    patterns = ("*.pt", "*.ts", "*.pt2", "*.onnx")
    attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in patterns)
    (bundle / ".gitattributes").write_text(attributes, encoding="utf-8")


def write_unit_tests(folder: Path, name: str) -> list[Path]:
    """Write the Model Zoo's unit tests of a bundle: ``test_<name>.py`` and, for several GPUs, ``test_<name>_dist.py``.

    Args:
        folder: ``ci/unit_tests`` of a clone of the Model Zoo.
        name: of the bundle, in ``models/`` there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in ("", "_dist"):
        text = (TEMPLATES / f"test_bundle{kind}.template").read_text(encoding="utf-8")
        file = folder / f"test_{name}{kind}.py"
        file.write_text(text.replace("BUNDLE_NAME", name), encoding="utf-8")
        written.append(file)
    return written


def write_archive(bundle: Path, name: str) -> Path:
    """Write ``<name>.zip`` beside a bundle, with one folder ``<name>`` in it, and ``<name>.zip.sha256``.

    Args:
        bundle: its folder.
        name: of the bundle, as `monai.bundle download --name` gives it.
    """
    archive = bundle.with_name(f"{name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        for file in sorted(file for file in bundle.rglob("*") if file.is_file()):
            content.write(file, Path(name) / file.relative_to(bundle))
    archive.with_name(f"{name}.zip.sha256").write_text(f"{sha256(archive)}  {archive.name}\n", encoding="utf-8")
    return archive
