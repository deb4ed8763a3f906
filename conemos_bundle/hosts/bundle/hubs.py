"""Files of a packed bundle that hubs ask for."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step

TEMPLATES = Path(__file__).parent
LARGEST_IN_GIT = 1024 * 1024  # bytes; the Model Zoo takes no larger file into its repository
CHECKSUMS = "SHA256SUMS"
LARGE_FILES = "large_files.yml"


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
    text = "".join(f"{sha256(file)}  {file.name}\n" for file in files)
    write_in_one_step(models / CHECKSUMS, partial(Path.write_text, data=text, encoding="utf-8"))
    return models / CHECKSUMS


def follow_exports(bundle: Path, exported: Sequence[str]) -> None:
    """Where a bundle has sums, write those of exports too; say what its ``large_files.yml`` does not know.

    Args:
        bundle: its folder.
        exported: names of files in ``models/``.
    """
    if (bundle / "models" / CHECKSUMS).is_file():
        write_checksums(bundle)
    listed = bundle / LARGE_FILES
    if not listed.is_file():
        return
    known = listed.read_text(encoding="utf-8", errors="replace")
    for name in exported:
        file = bundle / "models" / name
        if (file.stat().st_size > LARGEST_IN_GIT or f"models/{name}" in known) and sha256(file) not in known:
            print(f"{listed}: does not know this models/{name}; upload it, and write its sum there: {sha256(file)}")


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
    (bundle / LARGE_FILES).write_text(text, encoding="utf-8")
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


def _unit_tests(folder: Path, name: str) -> dict[Path, bytes]:
    files = {}
    for kind in ("", "_dist"):
        text = (TEMPLATES / f"test_bundle{kind}.template").read_text(encoding="utf-8")
        files[folder / f"test_{name}{kind}.py"] = text.replace("BUNDLE_NAME", name).encode()
    return files


def reject_other_unit_tests(folder: Path, name: str) -> None:
    """Refuse where `write_unit_tests` would write over a file that says anything else.

    Raises:
        UserError: there is such a file.
    """
    for file, content in _unit_tests(folder, name).items():
        if file.exists() and not (file.is_file() and file.read_bytes() == content):
            raise UserError(f"{file}: exists, and is another test; move it away, or pass another --name")


def write_unit_tests(folder: Path, name: str) -> list[Path]:
    """Write the Model Zoo's unit tests of a bundle: ``test_<name>.py`` and, for several GPUs, ``test_<name>_dist.py``.

    Args:
        folder: ``ci/unit_tests`` of a clone of the Model Zoo.
        name: of the bundle, in ``models/`` there.
    """
    files = _unit_tests(folder, name)
    for file, content in files.items():
        write_in_one_step(file, partial(Path.write_bytes, data=content))
    return [*files]


def reject_other_archive(archive: Path, contents: Mapping[str, bytes]) -> None:
    """Refuse where `write_archive` would write over anything but what was left of packing this very bundle.

    Args:
        archive: the file.
        contents: some of what it will hold, by the path in the bundle; what tells it from other bundles and versions.

    Raises:
        UserError: there is another file.
    """
    told = "exists; move it away, or pass another --name"
    if archive.exists():
        try:
            with zipfile.ZipFile(archive) as file:
                names = {f"{archive.stem}/{path}": content for path, content in contents.items()}
                same = all(file.getinfo(name).file_size == len(content) for name, content in names.items())
                same = same and all(file.read(name) == content for name, content in names.items())
        except (OSError, KeyError, zipfile.BadZipFile, RuntimeError, NotImplementedError):  # encrypted, odd methods
            same = False
        if not same:
            raise UserError(f"{archive}: {told}")
    elif _sum_of(archive).exists():
        raise UserError(f"{_sum_of(archive)}: {told}")


def _sum_of(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}.sha256")


def write_archive(bundle: Path, archive: Path) -> Path:
    """Write ``<name>.zip`` of a bundle, with one folder ``<name>`` in it, and ``<name>.zip.sha256`` beside it.

    Args:
        bundle: its folder.
        archive: the file; the bundle's name in it is what `monai.bundle download --name` gives.

    Raises:
        OutputError: it cannot be written.
    """

    def write(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as content:
            for file in sorted(file for file in bundle.rglob("*") if file.is_file()):
                content.write(file, Path(archive.stem) / file.relative_to(bundle))

    write_in_one_step(archive, write)
    line = f"{sha256(archive)}  {archive.name}\n"
    write_in_one_step(_sum_of(archive), lambda part: part.write_text(line, encoding="utf-8"))
    return archive
