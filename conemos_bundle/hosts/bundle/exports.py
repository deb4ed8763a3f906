"""A bundle's network as TorchScript, as `torch.export` program (.pt2) and as ONNX.

All take an image ``(B, C, D, H, W)`` of any size, ``.pt2`` one of which no side is pooled to one voxel. ``.pt2`` and
``.onnx`` have a second input, the indices ``(R,)`` of the regions asked for; TorchScript's is optional, and the file
holds the bundle's configurations, as the Deploy App SDK wants it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.utils.extras import require_extra
from monai.bundle import ckpt_export
from torch import nn

LARGEST_DIFFERENCE = 1e-4
TIMED = 5  # runs

Export = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Check(NamedTuple):
    """How an exported file compares with the network."""

    difference: float  # largest absolute difference of probabilities
    seconds: float  # median time of all regions of one window
    network_seconds: float  # that of the network, in turn with it


class _TwoInputs(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        return self.network(image, regions)


def _program(network: nn.Module) -> torch.export.ExportedProgram:
    """The network for any batch, size and number of regions asked for."""
    first: nn.Module = next(module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Conv3d)))
    regions = int(network.num_regions)  # type: ignore[arg-type]
    # sizes that are all different and nothing's multiple: torch.export takes what is equal for the same
    image = torch.rand(2, int(first.in_channels), 25, 27, 29)  # type: ignore[arg-type]
    asked = torch.tensor([0, *range(regions)][:3])
    any_size = torch.export.Dim.AUTO
    shapes = ({0: any_size, **dict.fromkeys((2, 3, 4), any_size)}, {0: any_size})
    with torch.no_grad():
        program = torch.export.export(_TwoInputs(network).eval(), (image, asked), dynamic_shapes=shapes, strict=False)
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # holds the paths of source files, with the user's name in them
    return program


def export_pt2(network: nn.Module, path: Path) -> Export:
    """Write a ``.pt2`` file, and load it again.

    Args:
        network: on the CPU.
        path: the file.
    """
    torch.export.save(_program(network), path)
    module = torch.export.load(path).module()
    return lambda image, regions: module(image, regions)


def export_onnx(network: nn.Module, path: Path) -> Export:
    """Write an ``.onnx`` file (inputs ``image`` and ``regions``, output ``pred``: logits), and load it again.

    Args:
        network: on the CPU.
        path: the file.

    Raises:
        UserError: a package that it takes is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_extra(package, "export")
    import onnxruntime

    program = torch.onnx.export(
        _program(network), dynamo=True, verbose=False, input_names=["image", "regions"], output_names=["pred"]
    )
    program.save(str(path))  # type: ignore[union-attr]
    session = onnxruntime.InferenceSession(str(path))

    def run(image: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(session.run(None, {"image": image.numpy(), "regions": regions.numpy()})[0])

    return run


def export_torchscript(bundle: Path, path: Path) -> Export:
    """Write a TorchScript file with the bundle's configurations in it, and load it again.

    Args:
        bundle: its folder.
        path: the file. Renamed later, the Deploy SDK's stock operator no longer finds the configurations in it
            (ours in `conemos_bundle.hosts.deploy` does).
    """
    configs = bundle / "configs"
    ckpt_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        bundle_root=Path(bundle),
    )
    _remove_source_paths(path)
    return torch.jit.load(path)


def _remove_source_paths(script: Path) -> None:
    """Take out of a TorchScript file what only its error messages use: its source files' paths and lines."""
    bare = script.with_name(f"bare-{script.name}")
    with zipfile.ZipFile(script) as before, zipfile.ZipFile(bare, "w") as after:
        for entry in before.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                after.writestr(entry, before.read(entry))
    bare.replace(script)


def check(exported: Export, network: nn.Module, channels: int, window: list[int]) -> Check:
    """Compare an exported file with the network: two images, two sizes, some and all regions.

    Args:
        exported: what one of the functions above gave.
        network: on the CPU.
        channels: of an image.
        window: voxels of a patch.

    Raises:
        UserError: probabilities differ by more than 1e-4.
    """
    network = network.eval()
    every = torch.arange(int(network.num_regions))  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    differences = []
    with torch.no_grad():
        for batch, size, asked in ((1, window, every), (2, [side + 5 for side in window], every[-1:])):
            image = torch.rand(batch, channels, *size, generator=generator)
            expected = network(image, asked).sigmoid()
            differences.append(float((exported(image, asked).sigmoid() - expected).abs().max()))
        if not max(differences) <= LARGEST_DIFFERENCE:
            raise UserError(f"probabilities differ by {max(differences):.1e} from the network's; use another format")
        image = torch.rand(1, channels, *window, generator=generator)
        models: list[Callable[..., torch.Tensor]] = [exported, network]
        times: list[list[float]] = [[], []]
        for _ in range(TIMED):
            for model, taken in zip(models, times, strict=True):
                started = perf_counter()
                model(image, every)
                taken.append(perf_counter() - started)
    return Check(max(differences), *(median(taken) for taken in times))
