"""How far a network's probabilities are to be trusted: one temperature, fitted on validation scans after training."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.files import write_in_one_step
from conemos_bundle.networks.interface import unwrapped
from conemos_bundle.runs.record import RECORD, read_run
from conemos_bundle.runs.run import record_bytes
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.utils.known import known_voxels
from ignite.engine import Engine, Events
from monai.engines import SupervisedEvaluator
from scipy.optimize import minimize_scalar
from torch import nn

logger = logging.getLogger(__name__)
MARGIN = 8  # voxels around a region's box: where the network may be in doubt
MOST_VOXELS = 20_000  # of a region in a scan
MOST_SCANS = 32
RANGE = (0.05, 20.0)


def fit_temperature(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """The temperature T whose probabilities ``sigmoid(logits / T)`` have the least binary cross-entropy.

    Guo et al., On calibration of modern neural networks, ICML 2017. T > 1: the network is surer than it should be.

    Args:
        logits: ``(n,)``, finite.
        targets: ``(n,)``, 0 or 1.

    Returns:
        in [0.05, 20].

    Example::

        >>> round(fit_temperature([4.0, 4.0, 4.0, 4.0], [1, 1, 1, 0]), 2)  # 0.75 is sigmoid(1.0986)
        3.64
    """
    given, wanted = np.asarray(logits, np.float64), np.asarray(targets, np.float64)

    def cross_entropy(log_temperature: float) -> float:
        scaled = given / np.exp(log_temperature)
        return float(np.mean(np.logaddexp(0, scaled) - wanted * scaled))

    found = minimize_scalar(cross_entropy, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-5})
    return float(np.exp(found.x))


def voxels_near(target: torch.Tensor, margin: int = MARGIN) -> torch.Tensor:
    """Which known voxels lie in the box of a region, or up to ``margin`` voxels from it: bool, of the target's shape.

    Args:
        target: ``(D, H, W)``: 1 inside, 0 outside, NaN where unknown.
        margin: in voxels.
    """
    known, inside = known_voxels(target)
    near = torch.zeros_like(known)
    places = inside.nonzero()
    if len(places):
        low, high = (places.amin(0) - margin).clamp(min=0), places.amax(0) + margin + 1
        near[tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))] = True
    return near & known


@torch.no_grad()
def sample_logits(
    dataset: Sequence[Mapping[str, Any]],
    network: nn.Module,
    inferer: Callable[..., torch.Tensor],
    device: torch.device,
    seed: int = 0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits and answers at random voxels near the annotated regions of scans, the same ones at each call.

    Args:
        dataset: items with ``image`` ``(C, D, H, W)`` and ``label`` ``(K, D, H, W)``, NaN where nothing is known.
        network: on ``device``, in evaluation mode.
        inferer: `infer`, partially applied.
        device: where it runs.
        seed: which scans, where there are more than 32, and which voxels.

    Returns:
        both ``(n,)``; n is 0 where no scan shows a region.
    """
    random = torch.Generator().manual_seed(seed)
    logits, targets = [torch.empty(0)], [torch.empty(0)]
    for number in torch.randperm(len(dataset), generator=random)[:MOST_SCANS].tolist():
        item = dataset[number]
        label = torch.as_tensor(item["label"])
        near = [voxels_near(target) for target in label]
        regions = [k for k, each in enumerate(near) if bool(each.any())]
        if not regions:
            continue
        image = torch.as_tensor(item["image"])[None].to(device)
        found = inferer(image, network, regions=torch.tensor(regions, device=device))[0].cpu()
        for k, of_region in zip(regions, found, strict=True):
            places = near[k].flatten().nonzero()[:, 0]
            drawn = places[torch.randperm(len(places), generator=random)[:MOST_VOXELS]]
            logits.append(of_region.flatten()[drawn])
            targets.append(label[k].flatten()[drawn])
    return torch.cat(logits).float().numpy(), torch.cat(targets).float().numpy()


class Calibration:
    """Handler of the trainer, behind `Checkpoint` and `RunRecord`: when training ends, the temperature of ``model.pt``
    on validation scans goes into ``run.json``.

    It is for probabilities and confidences; masks are of the logits themselves.

    Args:
        output_dir: folder of the run.
        network: the network, which is left as it is.
        evaluator: the validation engine: its scans, `infer` and device.
    """

    def __init__(self, output_dir: str, network: nn.Module, evaluator: SupervisedEvaluator) -> None:
        self.folder, self.network, self.evaluator = Path(output_dir), network, evaluator

    def attach(self, engine: Engine) -> None:
        """Calibrate when training ends."""
        engine.add_event_handler(Events.COMPLETED, self.calibrate)

    def calibrate(self, engine: Engine) -> None:
        """Fit the temperature and record it; nothing where no validation scan shows a region."""
        weights, device = self.folder / "model.pt", torch.device(self.evaluator.state.device)
        network = copy.deepcopy(unwrapped(self.network))
        fit_weights(network, load_weights(weights), weights)
        scans: Any = self.evaluator.data_loader.dataset  # type: ignore[union-attr]
        logits, targets = sample_logits(scans, network.to(device).eval(), self.evaluator.inferer, device)
        if not len(logits):
            return
        temperature = round(fit_temperature(logits, targets), 4)
        record = read_run(self.folder / RECORD).model_copy(update={"temperature": temperature})
        write_in_one_step(self.folder / RECORD, partial(Path.write_bytes, data=record_bytes(record)))
        logger.info(f"calibrated on {len(logits)} voxels of validation scans: temperature {temperature:.2f}")
