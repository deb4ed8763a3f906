from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy import sdk_start


def test_without_any_cuda_runtime_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk_start, "LIBRARY", "libnothing_of_this_name.so.13")
    with pytest.raises(UserError, match=r"libnothing.* is not installed; run scripts/setup_deploy\.sh"):
        sdk_start.load_cuda_runtime()


def test_the_runtime_of_a_python_package_is_taken_where_the_machine_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "libnothing_of_this_name.so.13"
    library = tmp_path / "nvidia" / "cu13" / "lib" / name
    library.parent.mkdir(parents=True)
    loaded = []

    def load(path: str, mode: int) -> None:
        loaded.append(path)
        if path == name:
            raise OSError("not found")

    library.write_bytes(b"")
    monkeypatch.setattr(sdk_start, "LIBRARY", name)
    monkeypatch.setattr(sdk_start.ctypes, "CDLL", load)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nvidia", raising=False)
    assert sdk_start.load_cuda_runtime() == str(library)
    assert loaded == [name, str(library)]


@pytest.mark.parametrize(("level", "holoscan"), [("ERROR", "OFF"), ("WARNING", "WARN"), ("DEBUG", "DEBUG")])
def test_holoscan_is_quiet_unless_asked(level: str, holoscan: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk_start, "load_cuda_runtime", lambda: "")
    monkeypatch.setattr(sdk_start.warnings, "simplefilter", lambda action: None)
    monkeypatch.delenv("HOLOSCAN_LOG_LEVEL", raising=False)
    sdk_start.prepare_sdk(level)
    assert os.environ["HOLOSCAN_LOG_LEVEL"] == holoscan
