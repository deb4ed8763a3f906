"""The optimizer's parameter groups."""

from __future__ import annotations

from typing import Any

from conemos_bundle.networks.film import FiLM
from torch import nn


def parameter_groups(network: nn.Module, film_weight_decay: float = 0.0) -> list[dict[str, Any]]:
    """All parameters that are trained, the weights of FiLM's projections to γ and β in a group of their own.

    The authors' code adds ``1e-5 Σ w²`` over the FiLM layers' weights to the loss: a ``weight_decay`` of 2e-5 in Adam.

    Args:
        network: the network.
        film_weight_decay: weight decay of the FiLM layers.
    """
    film = {id(module.projection.weight) for module in network.modules() if isinstance(module, FiLM)}
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if id(p) not in film]}]
    if any(id(p) in film for p in parameters):
        groups.append({"params": [p for p in parameters if id(p) in film], "weight_decay": film_weight_decay})
    return groups
