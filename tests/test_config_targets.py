"""What the configurations name exists, and no module has the same path: since Python 3.12 `pydoc.locate`, which MONAI
uses, takes the module then."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec

import pytest
from conemos_bundle.utils.paths import bundle_folder

TARGETS = sorted(
    {
        target
        for file in (bundle_folder() / "configs").rglob("*.json")
        for target in re.findall(r'"_target_": "(conemos_bundle\.[\w.]+)"', file.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("target", TARGETS)
def test_targets_are_functions_or_classes(target: str) -> None:
    module, name = target.rsplit(".", 1)
    assert callable(getattr(import_module(module), name))
    if hasattr(import_module(module), "__path__"):  # a package
        assert find_spec(target) is None
