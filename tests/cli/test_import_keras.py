from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conemos_bundle.cli import import_keras
from conemos_bundle.errors import UserError
from conemos_bundle.networks import FiLMUNet
from conemos_bundle.networks.reference_weights import _layers
from conemos_bundle.runs.run import read_record, recorded_network


def keras_file(path: Path, network: FiLMUNet, top: str = "") -> None:
    """Write a network's weights as Keras does: a group a layer, whose ``weight_names`` name its arrays."""
    with h5py.File(path, "w") as file:
        root = file.create_group(top) if top else file
        root.create_group("input_1").attrs["weight_names"] = []
        for name, layer in _layers(network).items():
            group = root.create_group(name.split("/")[0])
            names = []
            for key, parameter in (("kernel:0", layer.weight), ("bias:0", layer.bias)):
                if parameter is not None:
                    array = parameter.detach().numpy()
                    group[f"{name}/{key}"] = np.moveaxis(array, (0, 1), (-1, -2)) if array.ndim > 1 else array
                    names.append(f"{name}/{key}".encode())
            group.attrs["weight_names"] = names


@pytest.mark.parametrize(("n_conditioned", "top"), [(None, ""), (5, "model_weights")])
def test_the_imported_run_gives_the_same_logits(n_conditioned: int | None, top: str, tmp_path: Path) -> None:
    network = FiLMUNet(num_regions=3, channels=(2, 4, 4), n_conditioned=n_conditioned, skip="first_conv", mlp_width=8)
    keras_file(tmp_path / "dice_100.h5", network, top)
    import_keras(str(tmp_path / "dice_100.h5"), regions=["a", "b", "c"], output=str(tmp_path / "run"))
    record = read_record(tmp_path / "run" / "model.pt")
    imported = recorded_network(record)
    imported.load_state_dict(torch.load(tmp_path / "run" / "model.pt", weights_only=True))
    image = torch.rand(1, 1, 12, 9, 8)
    torch.testing.assert_close(imported(image), network(image), rtol=0, atol=0)
    assert record.regions == ["a", "b", "c"]


def test_refuses_other_files(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no")
    with pytest.raises(UserError, match="not a Keras HDF5 file"):
        import_keras(str(tmp_path / "text.h5"), output=str(tmp_path / "run"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("dense").attrs["weight_names"] = []
    with pytest.raises(UserError, match="no weights of a CoNeMOS network"):
        import_keras(str(tmp_path / "other.h5"), output=str(tmp_path / "run"))
    keras_file(tmp_path / "two.h5", FiLMUNet(num_regions=2, channels=(2, 4), skip="first_conv"))
    with pytest.raises(UserError, match="has 2 regions, --regions names 1"):
        import_keras(str(tmp_path / "two.h5"), regions=["a"], output=str(tmp_path / "run"))
    for option, value in (("spacing", 3), ("spacing", [3, 3]), ("patch_size", [0, 0]), ("patch_size", [2.5, 3, 3])):
        with pytest.raises(UserError, match=rf"^--{option} \[?{re.escape(str(value).strip('['))}: ") as raised:
            import_keras(str(tmp_path / "two.h5"), output=str(tmp_path / "run"), **{option: value})
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "run").exists()
    (tmp_path / "cut").mkdir()
    for name in ("run.json", "checkpoint.pt"):
        (tmp_path / "cut" / name).write_text("kept")
        with pytest.raises(UserError, match="cut: holds a run already"):
            import_keras(str(tmp_path / "two.h5"), output=str(tmp_path / "cut"))
        assert (tmp_path / "cut" / name).read_text() == "kept"
        (tmp_path / "cut" / name).unlink()
