"""What MONAI's workflows leave behind in the process that runs them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from monai.utils import set_determinism


@contextmanager
def left_as_it_was() -> Iterator[None]:
    """The import path, the hook for errors and the random numbers of this process, for the tests to come."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", sys.path.copy())
        patch.setattr(sys, "excepthook", sys.excepthook)
        yield
    set_determinism(None)
