"""With the weights of the authors' networks ours give their probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from conemos_bundle.networks import FiLMUNet, MultiDecoder, MultiLayer, UNet, load_reference_weights

Arrays = Callable[[str], dict[str, np.ndarray]]
CHANNELS = (4, 8, 16)


NETWORKS: dict[str, tuple[type, dict[str, int]]] = {
    "conemos": (FiLMUNet, {}),
    "conemos_last_5_conditioned": (FiLMUNet, {"n_conditioned": 5}),
    "psl_unet": (UNet, {}),
    "multi_layer": (MultiLayer, {}),
    "multi_decoder": (MultiDecoder, {}),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_probabilities_of_the_authors(reference_arrays: Arrays, name: str) -> None:
    values = reference_arrays(name)
    network_class, options = NETWORKS[name]
    network = network_class(num_regions=3, channels=CHANNELS, skip="first_conv", **options).eval()
    load_reference_weights(network, reference_arrays(f"{name}/weights"))
    image, expected = torch.from_numpy(values["image"]), values["probabilities"]
    assert np.ptp(expected, axis=1).max() > 0.01  # regions differ, so that their order matters
    np.testing.assert_allclose(network(image).sigmoid().numpy(), expected, rtol=0, atol=1e-5)
    asked = [2, 0]
    probabilities = network(image, torch.tensor(asked)).sigmoid().numpy()
    np.testing.assert_allclose(probabilities, expected[:, asked], rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_usual_skip_is_another_network(reference_arrays: Arrays) -> None:
    values = reference_arrays("conemos")
    network = FiLMUNet(num_regions=3, channels=CHANNELS, skip="last").eval()
    load_reference_weights(network, reference_arrays("conemos/weights"))
    difference = network(torch.from_numpy(values["image"])).sigmoid().numpy() - values["probabilities"]
    assert np.abs(difference).max() > 1e-3
