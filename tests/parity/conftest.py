"""Values that the authors' TensorFlow code gave; where the file is not there, no test of this folder is collected.

The environment variable CONEMOS_PARITY names the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

_DEFAULT = Path(__file__).resolve().parents[3] / "shared" / "parity" / "conemos_reference.npz"
REFERENCE = Path(os.environ.get("CONEMOS_PARITY", _DEFAULT))

collect_ignore_glob = [] if REFERENCE.is_file() else ["test_*.py"]


@pytest.fixture(scope="session")
def reference_arrays() -> Callable[[str], dict[str, np.ndarray]]:
    """``reference_arrays("conemos")`` gives the arrays named ``conemos/…``, each under what follows the slash."""

    def read(prefix: str) -> dict[str, np.ndarray]:
        start = prefix.rstrip("/") + "/"
        with np.load(REFERENCE) as arrays:
            return {name.removeprefix(start): arrays[name] for name in arrays.files if name.startswith(start)}

    return read
