"""The engines that compute a network: PyTorch, or, on a CPU, OpenVINO."""

from __future__ import annotations

import copy
import importlib
import sys
import warnings
from typing import Any

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.networks import GrownUNet
from conemos_bundle.networks.interface import RegionNetwork
from conemos_bundle.networks.region_branches import RegionBranches
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.nearest import suggestion
from torch import nn

ENGINES = ("torch", "openvino")


def check_engine(engine: str) -> None:
    """Raise where there is no such engine.

    Raises:
        UserError: its name is unknown, or it is not installed.
    """
    if engine not in ENGINES:
        raise UserError(f"--engine {engine!r}: use one of {', '.join(ENGINES)}{suggestion(str(engine), ENGINES)}")
    if engine == "openvino":
        require_extra("openvino", "openvino", "OpenVINO")


def load_openvino() -> Any:
    """OpenVINO as a module, which tells nobody.

    pip installs openvino-telemetry with it, which reports each import and conversion to its maker. Where that package
    cannot be imported, OpenVINO has a stub for it, which does nothing.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import of it fails from now on
    return importlib.import_module("openvino")  # no `import`: a packed bundle does without it unless it is asked for


class OpenVINONetwork(nn.Module):
    """`RegionNetwork.encode` and `decode`, computed by OpenVINO on as many threads as PyTorch has at the first call.

    In float32, or, inside of autocast to bfloat16, in bfloat16; features and logits are float32 in both. Both parts are
    converted when they are first called, and again for images of another shape, which takes some seconds. Of a method
    with a branch per region, and of a network that has grown, the branches are converted one by one, and PyTorch puts
    their logits together.

    Args:
        network: on the CPU, in evaluation mode; it is left as it is, and its weights are not copied.
    """

    def __init__(self, network: RegionNetwork) -> None:
        super().__init__()
        self.num_regions, self.num_indices = network.num_regions, network.num_indices
        grown = network if isinstance(network, GrownUNet) else None
        own = network if grown is None else grown.base
        self._encoder, self._decoder = _Compiled(own, "encode"), _Compiled(own, "decode")
        # added regions stand behind the network's own, each a branch that goes by the image alone
        self.old = None if grown is None else grown.old
        self._added = nn.ModuleList(_Compiled(branch, "forward") for branch in ([] if grown is None else grown.added))
        # what a branch computes hangs on which regions are asked for, which no graph says
        self._with_branches: RegionNetwork | None = None
        if any(isinstance(module, RegionBranches) for module in network.modules()):
            weights = [*network.parameters(), *network.buffers()]
            self._with_branches = copy.deepcopy(network, {id(tensor): tensor for tensor in weights})
            for module in list(self._with_branches.modules()):
                if isinstance(module, RegionBranches):
                    module.branches = nn.ModuleList(_Compiled(branch, "forward") for branch in module.branches)

    def encode(self, image: torch.Tensor) -> list[torch.Tensor]:
        """As `RegionNetwork.encode`, of an image ``(B, C, D, H, W)``."""
        return self._encoder.call(image)

    def decode(self, features: list[torch.Tensor], regions: torch.Tensor) -> torch.Tensor:
        """Logits ``(B, R, D, H, W)``, as `RegionNetwork.decode`.

        Args:
            features: what `encode` gave.
            regions: indices ``(R,)`` or ``(B, R)``.

        Raises:
            IndexError: there is no such index.
        """
        if bool((regions < 0).any()) or bool((regions >= self.num_indices).any()):
            raise IndexError(f"index of a region out of range: {regions.tolist()}")  # OpenVINO would count from the end
        if self._with_branches is not None:
            return self._with_branches.decode(features, regions)
        # as fast as all at once, and converted once for any number of them
        return torch.cat([self._of(features, region) for region in regions.split(1, dim=-1)], 1)

    def _of(self, features: list[torch.Tensor], region: torch.Tensor) -> torch.Tensor:
        """A region's logits ``(B, 1, D, H, W)``; region ``(1,)`` or ``(B, 1)``."""
        if self.old is None or bool((region < self.old).all()):
            return self._decoder(features, region)
        if region.dim() == 1:
            logits: torch.Tensor = self._added[int(region) - self.old](features[0])
            return logits
        of_each = [[tensor[i : i + 1] for tensor in features] for i in range(len(region))]
        return torch.cat([self._of(one, asked) for one, asked in zip(of_each, region, strict=True)])


class _Compiled(nn.Module):
    """A method of a module; takes tensors and lists of tensors, gives a tensor, or, by `call`, a list of them.

    What was made for the last shapes and precision alone is kept: windows have one shape, and whole scans one each.
    """

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module = module
        self.method = method
        self._made_for: Any = None
        self._request: Any = None
        self._used: list[bool] = []

    def forward(self, *arguments: torch.Tensor | list[torch.Tensor]) -> torch.Tensor:
        return self.call(*arguments)[0]

    def call(self, *arguments: torch.Tensor | list[torch.Tensor]) -> list[torch.Tensor]:
        tensors = [tensor for each in arguments for tensor in (each if isinstance(each, list) else [each])]
        bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        made_for = "bf16" if bfloat16 else "f32", [tensor.shape for tensor in tensors]
        if made_for != self._made_for:
            self._request = self._made_for = None  # the memory first
            self._request, self._used = _compile(_Calling(self.module, self.method), arguments, made_for[0])
            self._made_for = made_for
        openvino = load_openvino()
        used = [tensor.contiguous().numpy() for tensor, used in zip(tensors, self._used, strict=True) if used]
        found = [torch.empty(list(output.shape)) for output in self._request.model_outputs]  # new ones: they are kept
        for place, tensor in enumerate(found):
            self._request.set_output_tensor(place, openvino.Tensor(tensor.numpy(), shared_memory=True))
        self._request.infer(used, share_inputs=True, share_outputs=True)
        return found


class _Calling(nn.Module):
    """A module whose ``forward`` is another one's method, as torch.export wants it."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module = module
        self.method = method

    def forward(self, *arguments: torch.Tensor | list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        return getattr(self.module, self.method)(*arguments)


def _compile(module: nn.Module, arguments: tuple[Any, ...], precision: str) -> tuple[Any, list[bool]]:
    """An inference request of a module for arguments of these shapes, and which of their tensors it reads.

    Args:
        module: takes tensors and lists of tensors.
        arguments: such as it will be called with.
        precision: ``f32`` or ``bf16``.
    """
    openvino = load_openvino()
    empty = [[_like(tensor) for tensor in each] if isinstance(each, list) else _like(each) for each in arguments]
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, tuple(empty), strict=False)
        model = openvino.convert_model(program)
    given = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    used = [bool(node.users) for node in given]  # OpenVINO leaves the others out
    tensors = [tensor for each in empty for tensor in (each if isinstance(each, list) else [each])]
    shapes = [list(tensor.shape) for tensor, is_used in zip(tensors, used, strict=True) if is_used]
    assert len(model.inputs) == len(shapes), "OpenVINO left out another input"
    model.reshape(dict(enumerate(shapes)))
    settings = {
        "INFERENCE_PRECISION_HINT": precision,  # unless told, it takes bfloat16 where the machine is fast in it
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
    }
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request(), used


def _like(tensor: torch.Tensor) -> torch.Tensor:
    """A plain tensor of zeros: torch.export takes no `MetaTensor`."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype)
