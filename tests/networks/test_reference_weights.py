from __future__ import annotations

import numpy as np
import pytest
import torch
from conemos_bundle.networks import FiLMUNet, UNet, load_reference_weights
from conemos_bundle.networks.film import FiLM

CHANNELS = (2, 3, 4)


def make(kind: str) -> FiLMUNet | UNet:
    if kind == "unet":
        network: FiLMUNet | UNet = UNet(num_regions=2, channels=CHANNELS)
    else:
        network = FiLMUNet(num_regions=2, channels=CHANNELS, mlp_width=6, n_conditioned=4 if kind == "last 4" else None)
    with torch.no_grad():
        for parameter in network.parameters():  # biases too start at 0: nothing would tell them apart
            parameter.normal_()
    return network


def keras_arrays(network: FiLMUNet | UNet) -> dict[str, np.ndarray]:
    """The weights under the authors' names and in Keras's layout, written down level by level."""
    arrays: dict[str, np.ndarray] = {}

    def put(name: str, layer: torch.nn.Module) -> None:
        kernel = layer.weight.detach().numpy()
        axes = (2, 3, 4, 1, 0) if kernel.ndim == 5 else (1, 0)
        arrays[f"{name}/kernel:0"] = kernel.transpose(axes).copy()
        if layer.bias is not None:
            arrays[f"{name}/bias:0"] = layer.bias.detach().numpy().copy()

    names = ["unet_down0", "unet_down1", "unet_down2", "unet_up3", "unet_up4"]
    films = []
    for name, level in zip(names, [*network.backbone.encoder.levels, *network.backbone.decoder.levels], strict=True):
        for i in (1, 2):
            put(f"{name}_conv{i}", level[i - 1].conv)
            films.append(f"{name}_film{i}")
    put("unet_likelihood", network.backbone.final)
    films.append("unet_likelihood_film")
    if isinstance(network, FiLMUNet):
        for i in range(4):
            put(f"dense_{i + 1}", network.embedding[2 * i])
        own = [module for module in network.modules() if isinstance(module, FiLM)]
        for name, film in zip(films[-len(own) :], own, strict=True):
            put(f"{name}/{name}_dense", film.projection)
    return arrays


@pytest.mark.parametrize("kind", ["film", "last 4", "unet"])
def test_round_trip(kind: str) -> None:
    source, target = make(kind), make(kind)
    load_reference_weights(target, keras_arrays(source))
    assert source.state_dict().keys() == target.state_dict().keys()
    for name, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[name], value), name


@pytest.mark.parametrize("kind", ["film", "last 4", "unet"])
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "the weights lack 'unet_likelihood/kernel:0'"),
        ("left over", "no place for 'unet_down9_conv1/kernel:0' and 0 other weights"),
        ("shape", r"'unet_likelihood/kernel:0' has the shape .*, the network's is"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_network_stays_as_it_was(kind: str, fault: str, message: str) -> None:
    network = make(kind)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    arrays = keras_arrays(make(kind))
    last = "unet_likelihood/kernel:0"
    if fault == "missing":
        del arrays[last]
    elif fault == "left over":
        arrays["unet_down9_conv1/kernel:0"] = np.zeros(1)
    else:
        arrays[last] = arrays[last][..., :1, :]
    with pytest.raises(ValueError, match=message):
        load_reference_weights(network, arrays)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_weights_of_a_fully_conditioned_network_do_not_fit_a_partly_conditioned_one() -> None:
    with pytest.raises(ValueError, match="no place for 'unet_down0_film1"):
        load_reference_weights(make("last 4"), keras_arrays(make("film")))
