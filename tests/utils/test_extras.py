from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conemos_bundle.cli import experiments, import_keras
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.bundle.exports import export_onnx
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.paths import bundle_folder

from tests.locks import needed


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["conemos_bundle.utils.extras"], "find_spec", lambda name: None)


def test_what_is_installed_is_no_error() -> None:
    require_extra("numpy", "keras")


def test_a_command_says_what_to_install(tmp_path: Path, nothing_installed: None) -> None:
    for name in ("a.h5", "grid.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"^h5py is not installed; pip install 'conemos-bundle\[keras\]'$"):
        import_keras(str(tmp_path / "a.h5"), output=str(tmp_path / "run"))
    with pytest.raises(UserError, match=r"^Snakemake is not installed; pip install 'conemos-bundle\[experiments\]'$"):
        experiments(str(tmp_path / "grid.json"), output=str(tmp_path / "runs"))
    with pytest.raises(UserError, match=r"^onnx is not installed; pip install 'conemos-bundle\[export\]'$"):
        export_onnx(FiLMUNet(num_regions=2, channels=(2, 4)), tmp_path / "a.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "grid.json"]


@pytest.mark.parametrize(
    ("extra", "package"), [("keras", "h5py"), ("tensorboard", "tensorboard"), ("experiments", "snakemake")]
)
def test_the_extras_that_are_named_bring_what_is_missing(extra: str, package: str) -> None:
    assert package in needed(extra) and package not in needed()


def test_all_commands_are_there_without_any_extra() -> None:
    """An import at the top of a module would end every command, not only the one that needs it."""
    extras = ["h5py", "onnx", "onnxruntime", "onnxscript", "snakemake", "tensorboard"]
    block = f"import sys; sys.modules.update(dict.fromkeys({extras}))"  # None: to import it is an ImportError
    program = f"{block}; import conemos_bundle.cli, conemos_bundle.predictor, conemos_bundle.training.tensorboard"
    done = subprocess.run([sys.executable, "-c", program], cwd=bundle_folder(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
