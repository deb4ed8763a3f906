"""What must be done before MONAI is imported, which imports the SDK and Holoscan where they are installed."""

from __future__ import annotations

import ctypes
import os
import warnings
from importlib.util import find_spec
from pathlib import Path

from conemos_bundle.errors import UserError

LIBRARY = "libcudart.so.13"


def prepare_sdk(log_level: str) -> None:
    """Load the CUDA runtime, which Holoscan links to on a machine without a GPU too, and quieten both.

    Args:
        log_level: ``ERROR`` hides what Holoscan says of a small stack, a missing GPU and missing decoders in every run.

    Raises:
        UserError: there is no CUDA runtime.
    """
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "OFF" if log_level == "ERROR" else log_level.replace("WARNING", "WARN"))
    if log_level == "ERROR":
        warnings.simplefilter("ignore")
    load_cuda_runtime()


def load_cuda_runtime() -> str:
    """Load the CUDA runtime of the machine, else that of the package ``nvidia-cuda-runtime``.

    Returns:
        its name or path.

    Raises:
        UserError: neither is there.
    """
    for name in (LIBRARY, *map(str, packaged_libraries())):
        try:
            ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return name
    raise UserError(f"{LIBRARY} is not installed; run scripts/setup_deploy.sh, or: pip install nvidia-cuda-runtime")


def packaged_libraries() -> list[Path]:
    """The CUDA runtimes among the installed Python packages."""
    package = find_spec("nvidia")
    folders = [] if package is None else list(package.submodule_search_locations or [])
    return [file for folder in folders for file in sorted(Path(folder).rglob(LIBRARY))]
