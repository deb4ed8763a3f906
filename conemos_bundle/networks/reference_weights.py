"""Weights of the authors' Keras networks in ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.multi_decoder import MultiDecoder
from conemos_bundle.networks.multi_layer import MultiLayer
from conemos_bundle.networks.unet import UNet
from torch import nn

Reference = FiLMUNet | UNet | MultiLayer | MultiDecoder  # networks that the authors' code has too


def _decoder_layers(decoder: Any, first: int, prefix: str) -> dict[str, Any]:
    """The authors' names of a decoder's convolutions; its levels are numbered on from ``first``."""
    return {
        f"{prefix}_up{first + i}_conv{j + 1}": layer.conv
        for i, level in enumerate(decoder.levels)
        for j, layer in enumerate(level)
    }


def _layers(network: Reference) -> dict[str, Any]:
    """The authors' layer names, and ours that hold the same weights."""
    encoder: Any = network.encoder if isinstance(network, MultiDecoder) else network.backbone.encoder
    names: dict[str, Any] = {
        f"unet_down{i}_conv{j + 1}": layer.conv
        for i, level in enumerate(encoder.levels)
        for j, layer in enumerate(level)
    }
    levels = len(encoder.levels)
    if isinstance(network, MultiDecoder):
        for k, head in enumerate(network.heads.branches, start=1):
            names.update(_decoder_layers(head.decoder, levels, f"unet_head{k}"))
            names[f"unet_head{k}_conv1x1"] = head.final
        return names
    names.update(_decoder_layers(network.backbone.decoder, levels, "unet"))
    if isinstance(network, MultiLayer):
        for k, head in enumerate(network.heads.branches, start=1):
            names[f"net_head{k}_conv1"] = head.layer.conv
            names[f"unet_head{k}_conv1x1"] = head.final
        return names
    names["unet_likelihood"] = network.backbone.final
    if isinstance(network, FiLMUNet):
        dense = [layer for layer in network.embedding if isinstance(layer, nn.Linear)]
        names.update({f"dense_{i + 1}": layer for i, layer in enumerate(dense)})
        blocks = [block for part in (encoder, network.backbone.decoder) for level in part.levels for block in level]
        films = [block.film for block in blocks] + [network.backbone.final_film]
        convs = [name for name in names if name.startswith("unet_")]
        for name, film in zip(convs, films, strict=True):
            if film is not None:
                name = f"{name}_film" if name == "unet_likelihood" else name.replace("_conv", "_film")
                names[f"{name}/{name}_dense"] = film.projection
    return names


def load_reference_weights(network: Reference, arrays: Mapping[str, np.ndarray]) -> None:
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
