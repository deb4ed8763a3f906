"""Learning from unannotated regions with a mean teacher (Tarvainen and Valpola, 2017), future work of the paper."""

from __future__ import annotations

import math
from typing import Any

import torch
from conemos_bundle.inferers.inference import infer
from conemos_bundle.losses.region_loss import RegionLoss
from ignite.engine import Engine
from monai.utils.enums import CommonKeys
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MeanTeacher:
    """One step of training: the region drawn (or all annotated ones) as ever, and of the same scan a region that no one
    annotated.

    For the latter, the network agrees with the moving average of its own weights, the teacher, which sees the image
    with other noise: soft Dice between the two probability maps. The weight of this part rises slowly,
    ``weight · exp(-5 (1 - t)²)``, since a young teacher knows nothing. For a MONAI trainer's ``iteration_update``.

    Args:
        network: the network.
        loss: of the region drawn.
        weight: of the agreement, once it has risen.
        rise: number of steps during which it rises.
        decay: of the moving average, a step.
        noise: standard deviation of the noise added to the teacher's image, whose intensities are in [0, 1].
        bfloat16: mixed precision.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        weight: float = 1.0,
        rise: int = 1000,
        decay: float = 0.99,
        noise: float = 0.05,
        bfloat16: bool = False,
    ) -> None:
        self.teacher = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.loss = loss
        self.agreement = RegionLoss()
        self.weight = weight
        self.rise = rise
        self.noise = noise
        self.bfloat16 = bfloat16

    def weight_at(self, step: int) -> float:
        """The weight of the agreement at a step, from 1."""
        t = min(1.0, step / max(1, self.rise))
        return self.weight * math.exp(-5 * (1 - t) ** 2)

    def __call__(self, engine: Engine, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Train on a batch of `conemos_bundle.data.RegionDataset`, target ``"region"``.

        Returns:
            ``image``, ``label``, ``pred`` (logits of its regions) and ``loss``, as MONAI's trainers give them.
        """
        trainer: Any = engine
        device = trainer.state.device
        keys = (CommonKeys.IMAGE, CommonKeys.LABEL, "regions", "unannotated")
        image, label, regions, unannotated = (batch[key].to(device) for key in keys)
        step = trainer.state.iteration
        trainer.network.train()
        trainer.optimizer.zero_grad()

        has_one = unannotated[:, 0] >= 0
        if regions.shape[1] == 1:
            asked = torch.cat([regions, unannotated[has_one]])
            images = torch.cat([image, image[has_one]])
            logits, of_unannotated = infer(images, trainer.network, regions=asked, bfloat16=self.bfloat16).split(
                [len(image), int(has_one.sum())]
            )
        else:  # -1, no region, is not computed
            asked = torch.cat([regions, unannotated], 1)
            every = infer(image, trainer.network, regions=asked, bfloat16=self.bfloat16)
            logits, of_unannotated = every[:, :-1], every[has_one, -1:]
        loss = self.loss(logits, label)
        if len(of_unannotated):
            random = torch.Generator().manual_seed(step)  # the same after an interruption
            noise = self.noise * torch.randn(image[has_one].shape, generator=random).to(device)
            with torch.no_grad():
                taught = infer(
                    image[has_one] + noise, self.teacher, regions=unannotated[has_one], bfloat16=self.bfloat16
                ).sigmoid()
            loss = loss + self.weight_at(step) * self.agreement(of_unannotated, taught)
        loss.backward()
        trainer.optimizer.step()
        self.teacher.update_parameters(trainer.network)
        return {CommonKeys.IMAGE: image, CommonKeys.LABEL: label, CommonKeys.PRED: logits, CommonKeys.LOSS: loss}
