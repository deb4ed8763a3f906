"""Weights of the authors' Keras networks in ours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.unet import UNet
from torch import nn


def _layers(network: FiLMUNet | UNet) -> dict[str, nn.Module]:
    """The authors' layer names, and ours that hold the same weights."""
    backbone = network.backbone
    levels = [(f"unet_down{i}", level) for i, level in enumerate(backbone.encoder)]
    levels += [(f"unet_up{len(backbone.encoder) + i}", level) for i, level in enumerate(backbone.decoder)]
    convolutions = [
        (f"{level_name}_conv{i + 1}", f"{level_name}_film{i + 1}", layer.conv)
        for level_name, level in levels
        for i, layer in enumerate(level)
    ]
    convolutions.append(("unet_likelihood", "unet_likelihood_film", backbone.final))
    names: dict[str, nn.Module] = {conv_name: conv for conv_name, _, conv in convolutions}
    if isinstance(network, FiLMUNet):
        dense = [layer for layer in network.conditioner.embedding if isinstance(layer, nn.Linear)]
        names.update({f"dense_{i + 1}": layer for i, layer in enumerate(dense)})
        heads = network.conditioner.heads
        for (_, film_name, _), head in zip(convolutions[-len(heads) :], heads, strict=True):
            names[f"{film_name}/{film_name}_dense"] = head
    return names


def load_reference_weights(network: FiLMUNet | UNet, arrays: Mapping[str, np.ndarray]) -> None:
    """Load the authors' Keras weights into ``network``, in place.

    Args:
        network: a network with the same levels, features, regions and conditioned convolutions.
        arrays: Keras names (``unet_down0_conv1/kernel:0``, …) to arrays: kernels ``(kD, kH, kW, in, out)``, dense
            kernels ``(in, out)``, biases ``(out,)``.

    Raises:
        ValueError: a weight is missing, left over, or of another shape; the network is then left as it was.
    """
    loaded: list[tuple[torch.Tensor, torch.Tensor]] = []
    left = set(arrays)
    for name, layer in _layers(network).items():
        for key, parameter in (("kernel:0", layer.weight), ("bias:0", layer.bias)):
            if parameter is None:
                continue
            full_name = f"{name}/{key}"
            if full_name not in arrays:
                raise ValueError(f"the weights lack {full_name!r}")
            array = np.asarray(arrays[full_name])
            if array.ndim > 1:  # Keras has (…, in, out), PyTorch (out, in, …)
                array = np.moveaxis(array, (-1, -2), (0, 1))
            if array.shape != tuple(parameter.shape):
                raise ValueError(
                    f"{full_name!r} has the shape {array.shape}, the network's is {tuple(parameter.shape)}"
                )
            loaded.append((parameter, torch.from_numpy(np.ascontiguousarray(array))))  # type: ignore[arg-type]
            left.discard(full_name)
    if left:
        raise ValueError(f"the network has no place for {sorted(left)[0]!r} and {len(left) - 1} other weights")
    with torch.no_grad():
        for parameter, value in loaded:
            parameter.copy_(value)
