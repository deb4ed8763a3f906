"""What the files of a folder say, whatever is about time and place in them: of `kill_matrix.py`, `fault_matrix.py`."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd

NOT_OURS = ("tensorboard", ".snakemake", ".lock", "__pycache__")


def digest(content: bytes, name: str, root: Path) -> str:
    """What a file says, whatever is about time and place in it; raises whatever it likes where it is cut."""
    if name.endswith((".nii.gz", ".nrrd")):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(name).name)
            file.write_bytes(content)
            if name.endswith(".nrrd"):
                content = read_seg_nrrd(file)[0].tobytes()
            else:
                image = nibabel.load(file)
                content = np.asanyarray(image.dataobj).tobytes() + image.affine.round(5).tobytes()
    elif name.endswith(".pt"):
        content = repr(_tensors(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))).encode()
    elif name.endswith((".zip", ".ts", ".pt2", ".npz")):
        archive = zipfile.ZipFile(io.BytesIO(content))
        if archive.testzip() is not None:
            raise ValueError(name)
        content = repr(sorted(archive.namelist())).encode()
    elif name.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        content = repr([{k: v for k, v in row.items() if k not in ("seconds", "hours")} for row in rows]).encode()
    elif name.endswith(".json"):
        content = json.dumps(json.loads(content), sort_keys=True).replace(str(root), "ROOT").encode()
    elif name.endswith((".png", ".md")):
        content = content[-4:] if name.endswith(".png") else content.replace(bytes(root), b"ROOT")
    return hashlib.sha256(content).hexdigest()[:16]


def _tensors(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _tensors(inner) for key, inner in value.items()}
    return [_tensors(inner) for inner in value] if isinstance(value, list | tuple) else value


def contents(folder: Path) -> dict[str, str]:
    """All files, by their place in the folder; a file that cannot be read is BROKEN."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if set(place.parts) & set(NOT_OURS) or path.suffix == ".log" or place.match("models/backup/*.pt"):
            continue
        if path.is_dir():
            if path.name.startswith("."):
                found[f"{place}/"] = "hidden"
        elif not path.is_symlink():
            try:
                found[str(place)] = digest(path.read_bytes(), path.name, folder)
            except Exception as error:  # whatever a library raises on half a file
                found[str(place)] = f"BROKEN {type(error).__name__}"
    return found


def final(found: dict[str, str]) -> dict[str, str]:
    """What a reader sees: nothing that is hidden or in a hidden folder."""
    return {name: content for name, content in found.items() if not any(p.startswith(".") for p in Path(name).parts)}
