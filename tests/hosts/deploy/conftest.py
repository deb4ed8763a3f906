"""A model."""

from __future__ import annotations

from pathlib import Path

import pytest
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ckpt_export


@pytest.fixture(scope="session")
def torchscript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's model as ``model.ts``, as `docs/deploy.md` says to make it."""
    folder, file = bundle_folder(), tmp_path_factory.mktemp("exported") / "model.ts"
    ckpt_export(
        "network_def",
        str(file),
        str(folder / "models" / "model.pt"),
        str(folder / "configs" / "metadata.json"),
        str(folder / "configs" / "inference.json"),
    )
    return file
