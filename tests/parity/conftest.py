"""Values that the authors' TensorFlow code gave, on random weights and inputs: ``reference/``, see its README."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

REFERENCE = Path(__file__).with_name("reference")


@pytest.fixture(scope="session")
def reference_arrays() -> Callable[[str], dict[str, np.ndarray]]:
    """``reference_arrays("conemos")`` gives those of ``conemos.npz``, ``("conemos/weights")`` what begins so in it."""

    def read(name: str) -> dict[str, np.ndarray]:
        file, _, folder = name.partition("/")
        start = f"{folder}/" if folder else ""
        with np.load(REFERENCE / f"{file}.npz") as arrays:
            return {name.removeprefix(start): arrays[name] for name in arrays.files if name.startswith(start)}

    return read
