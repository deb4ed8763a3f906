"""A checkpoint of the authors' TensorFlow code as a run of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from conemos_bundle.errors import UserError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.names import check_region_names
from conemos_bundle.networks import FiLMUNet, load_reference_weights
from conemos_bundle.runs.record import RECORD, Run
from conemos_bundle.runs.run import recorded_versions
from conemos_bundle.runs.weights import CHECKPOINT
from conemos_bundle.training.checkpoint import save_in_one_step
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.records import one_line
from pydantic import ValidationError

MOST_BYTES = 2**31  # of one array


def read_keras_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The weights in a Keras HDF5 file, by their Keras names.

    Raises:
        UserError: h5py is not installed; the file cannot be read or holds no weights.
    """
    require_extra("h5py", "keras")
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def visit(group: h5py.Group) -> None:
        for name in group.attrs.get("weight_names", ()):
            key = name.decode() if isinstance(name, bytes) else str(name)
            if group[key].nbytes > MOST_BYTES:  # a file of some kB may say so
                raise ValueError(f"{key} takes {group[key].nbytes} bytes")
            arrays[key] = np.asarray(group[key])

    try:
        if not os.path.isfile(path):
            raise OSError("not a file")
        with h5py.File(path, "r") as file:
            layers = file.get("model_weights", file)
            for layer in layers.values():
                if isinstance(layer, h5py.Group):
                    visit(layer)
    except Exception as error:  # h5py raises whatever it likes on a broken file
        raise UserError(f"{path}: not a Keras HDF5 file; give the .h5 that the authors' training.py wrote") from error
    # the loss model that the authors save has other layers beside the network's, without weights of these names
    arrays = {name: array for name, array in arrays.items() if name.startswith(("unet_", "dense_"))}
    if not arrays:
        raise UserError(f"{path}: holds no weights of a CoNeMOS network (unet_…, dense_…)")
    return arrays


def network_for(arrays: dict[str, np.ndarray], path: str | os.PathLike[str]) -> FiLMUNet:
    """The network whose weights these are, as their names and shapes say.

    Raises:
        UserError: the weights are not those of a FiLM-conditioned UNet.
    """
    try:
        levels = sum(name.startswith("unet_down") and name.endswith("_conv1/kernel:0") for name in arrays)
        channels = [arrays[f"unet_down{i}_conv1/kernel:0"].shape[-1] for i in range(levels)]
        convs = sum(name.startswith("unet_down0_conv") and name.endswith("kernel:0") for name in arrays)
        first = arrays["unet_down0_conv1/kernel:0"]
        depth = sum(name.startswith("dense_") and name.endswith("kernel:0") for name in arrays)
        num_regions, width = arrays["dense_1/kernel:0"].shape
        conditioned = sum("_film" in name and name.endswith("kernel:0") for name in arrays)
        network = FiLMUNet(
            in_channels=first.shape[-2],
            num_regions=num_regions,
            channels=channels,
            convs_per_level=convs,
            mlp_width=width,
            mlp_depth=depth,
            n_conditioned=conditioned,
            skip="first_conv",
        )
        load_reference_weights(network, arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{path}: not a FiLM-conditioned network of the authors' code ({error})") from error
    return network


def import_run(
    checkpoint: str,
    regions: str | Sequence[str] | None = None,
    output: str = "runs/keras",
    spacing: Sequence[float] = (3.0, 3.0, 3.0),
    patch_size: Sequence[int] = (96, 96, 96),
) -> None:
    """Turn a checkpoint into a run; arguments and errors are those of `conemos import-keras`.

    Raises:
        UserError: the checkpoint cannot be read, the number of names is not K, spacing or patch size are none, or the
            folder holds a run, finished or not.
    """
    network = network_for(read_keras_weights(checkpoint), checkpoint)
    if isinstance(regions, str):
        regions = [name.strip() for name in regions.split(",")]
    names = [f"region {i + 1}" for i in range(network.num_regions)] if regions is None else list(regions)
    check_region_names(names, "--regions")
    if len(names) != network.num_regions:
        raise UserError(f"{checkpoint}: has {network.num_regions} regions, --regions names {len(names)}")
    folder = Path(output).expanduser()
    if any((folder / name).exists() for name in ("model.pt", RECORD, CHECKPOINT)):  # finished or not
        raise UserError(f"{folder}: holds a run already; pass another --output")
    sizes = {
        option: list(given) if isinstance(given, list | tuple) else given
        for option, given in (("spacing", spacing), ("patch_size", patch_size))
    }
    record = {
        "regions": names,
        "plan": {"in_channels": network.arguments["in_channels"], **sizes},
        "network": {"_target_": "conemos_bundle.networks.FiLMUNet", **network.arguments},
        "settings": {"imported_from": Path(checkpoint).name},
        "versions": recorded_versions(),
    }
    try:  # as it will be read
        Run.model_validate(json.loads(json.dumps(record)))
    except ValidationError as error:
        line = one_line(error)
        option = next((option for option in sizes if line.startswith(f"plan.{option}")), None)
        if option is None:
            raise UserError(f"{checkpoint}: {line}") from error
        reason = line.partition(": ")[2]
        raise UserError(f"--{option} {sizes[option]}: {reason}; pass three numbers, a,b,c") from error
    text = json.dumps(record, indent=4) + "\n"
    write_in_one_step(folder / RECORD, lambda part: part.write_text(text, encoding="utf-8"))
    save_in_one_step(network.state_dict(), folder / "model.pt")
    print(f"wrote {folder}: {len(names)} regions ({', '.join(names)}), levels {network.arguments['channels']}")
