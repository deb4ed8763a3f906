"""The versions that a bundle's metadata name: the Model Zoo's CI installs exactly these, on Python 3.10."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata

from conemos_bundle.utils.paths import bundle_folder
from packaging.specifiers import SpecifierSet

ZOO_PYTHON = "3.10"


def zoo_versions(installed: Mapping[str, str]) -> dict[str, str]:
    """Versions per package: the installed one, or the tested one where the zoo could not install that.

    The tested ones are those that the metadata of this package's own bundle name. The tests run with them, and they are
    for Python 3.10 (``requirements/runtime.txt``). A package that is not installed here gets its tested version too.

    Args:
        installed: versions per package.
    """
    usable = {package: version for package, version in installed.items() if _is_for_zoo(package)}
    return {**installed, **own_versions(), **usable}


def own_versions() -> dict[str, str]:
    """Versions per package that the metadata of this package's own bundle name."""
    named = json.loads((bundle_folder() / "configs" / "metadata.json").read_text(encoding="utf-8"))
    return {
        "monai": named["monai_version"],
        "torch": named["pytorch_version"],
        "numpy": named["numpy_version"],
        **named["required_packages_version"],
    }


def differences(installed: Mapping[str, str], named: Mapping[str, str]) -> str:
    """What to print of packages whose installed version the metadata do not name; empty: there are none."""
    others = [package for package, version in installed.items() if version != named[package]]
    if not others:
        return ""
    return (
        f"the metadata name the tested {_listed(named, others)}: installed are {_listed(installed, others)}, "
        f"not for Python {ZOO_PYTHON}, which the Model Zoo's CI runs"
    )


def _listed(versions: Mapping[str, str], packages: list[str]) -> str:
    return ", ".join(f"{package} {versions[package]}" for package in packages)


def _is_for_zoo(package: str) -> bool:
    try:
        python = metadata(package).json.get("requires_python")
    except PackageNotFoundError:
        return True
    return python is None or SpecifierSet(str(python)).contains(f"{ZOO_PYTHON}.14")  # that of its CI, to the last digit
