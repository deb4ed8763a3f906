from __future__ import annotations

import torch
from conemos_bundle.networks import FiLMUNet, UNet, parameter_groups


def test_the_weights_of_the_film_layers_alone_are_decayed() -> None:
    network = FiLMUNet(num_regions=2, channels=(2, 4), n_conditioned=3)
    rest, film = parameter_groups(network, film_weight_decay=0.25)
    assert {id(p) for p in film["params"]} == {
        id(weight) for name, weight in network.named_parameters() if name.endswith("projection.weight")
    }
    assert len(film["params"]) == 3
    assert film["weight_decay"] == 0.25
    assert "weight_decay" not in rest
    together = [*rest["params"], *film["params"]]
    assert len(together) == len({id(p) for p in together})
    assert {id(p) for p in together} == {id(p) for p in network.parameters()}


def test_decay_in_a_step_of_sgd() -> None:
    network = FiLMUNet(num_regions=2, channels=(2,), convs_per_level=1)
    optimizer = torch.optim.SGD(parameter_groups(network, film_weight_decay=0.5), lr=0.1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, value in network.state_dict().items():
        factor = 0.95 if name.endswith("projection.weight") else 1.0
        torch.testing.assert_close(value, factor * before[name])


def test_a_plain_unet_has_one_group() -> None:
    network = UNet(channels=(2, 4))
    groups = parameter_groups(network, film_weight_decay=0.25)
    assert len(groups) == 1
    assert [id(p) for p in groups[0]["params"]] == [id(p) for p in network.parameters()]
