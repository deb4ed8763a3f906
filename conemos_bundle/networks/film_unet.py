"""CoNeMOS: one UNet that segments the region it is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from conemos_bundle.networks.backbone import Backbone, keras_initialisation
from conemos_bundle.networks.conditioner import Conditioner
from conemos_bundle.networks.interface import checked_code, refuse_missing_weights, regions_as_channels
from torch import nn

FILM_INITS = ("glorot", "identity")


class FiLMUNet(nn.Module):
    """A UNet conditioned on a region by FiLM after its last N convolutions (CoNeMOS, section 3.5).

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the image.
        num_regions: K.
        channels: features of each level, finest first.
        convs_per_level: convolutions a level.
        mlp_width: units of each shared layer of the conditioner.
        mlp_depth: number of shared layers of the conditioner.
        n_conditioned: condition only the last n convolutions (of 15 with four levels of two); None: all (Figure 4B).
        norm: ``None`` (the paper), ``"instance"`` or ``"batch"``.
        skip: ``"last"``, the usual; ``"first_conv"``, the authors' code's (see `Backbone`).
        film_position: ``"after_activation"`` (the paper) or ``"before_activation"`` (see `Backbone`).
        film_init: ``"glorot"`` (the authors), or ``"identity"``: γ and β of every region begin at 0, so training
            begins with one network for all regions and takes them apart from there.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        num_regions: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128),
        convs_per_level: int = 2,
        mlp_width: int = 64,
        mlp_depth: int = 4,
        n_conditioned: int | None = None,
        norm: str | None = None,
        skip: str = "last",
        film_position: str = "after_activation",
        film_init: str = "glorot",
    ) -> None:
        super().__init__()
        self.arguments = {  # what a finished run needs to build this network again
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "num_regions": num_regions,
            "channels": list(channels),
            "convs_per_level": convs_per_level,
            "mlp_width": mlp_width,
            "mlp_depth": mlp_depth,
            "n_conditioned": n_conditioned,
            "norm": norm,
            "skip": skip,
            "film_position": film_position,
            "film_init": film_init,
        }
        self.backbone = Backbone(
            spatial_dims, in_channels, 1, channels, convs_per_level, norm, skip, bias=False, film_position=film_position
        )
        conv_channels = self.backbone.conv_channels
        if n_conditioned is None:
            n_conditioned = len(conv_channels)
        if not 1 <= n_conditioned <= len(conv_channels):
            raise ValueError(f"n_conditioned={n_conditioned}: this network has 1 to {len(conv_channels)} convolutions")
        if film_init not in FILM_INITS:
            raise ValueError(f"film_init={film_init!r}: use one of {FILM_INITS}")
        if num_regions < 1:
            raise ValueError(f"num_regions={num_regions}: at least one region is needed")
        self.num_regions = num_regions
        # heads of unconditioned convolutions are not made at all: DDP would wait for their gradients
        self.conditioner = Conditioner(num_regions, conv_channels[-n_conditioned:], mlp_width, mlp_depth)
        keras_initialisation(self.conditioner)
        if film_init == "identity":
            for head in self.conditioner.heads:
                nn.init.zeros_(head.weight)  # type: ignore[arg-type]
        self.register_load_state_dict_post_hook(refuse_missing_weights)

    def forward(
        self, x: torch.Tensor, regions: torch.Tensor | None = None, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits of regions. γ and β are computed once a call.

        Args:
            x: image ``(B, C, D, H, W)`` of any size.
            regions: region code ``(R, K)``, one one-hot row a region asked for, for all images of the batch alike;
                None: all K regions.
            condition: instead of ``regions``: one-hot ``(B, K)``, for each image a region of its own (training).

        Returns:
            ``(B, R, D, H, W)`` with ``regions``, ``(B, 1, D, H, W)`` with ``condition``, else ``(B, K, D, H, W)``.

        Raises:
            RuntimeError: the code has not K columns, or the condition not one row an image.
        """
        batch = x.shape[0]
        gammas, betas = self.conditioner(checked_code(x, regions, condition, self.num_regions))
        if condition is None:
            gammas = [gamma.repeat(batch, 1) for gamma in gammas]
            betas = [beta.repeat(batch, 1) for beta in betas]
        logits = self.backbone(x, gammas, betas)
        return regions_as_channels(logits, batch)
