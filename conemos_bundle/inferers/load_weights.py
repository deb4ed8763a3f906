"""Weights of an evaluator that runs once per scan: loaded once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.runs.weights import fit_weights, load_weights
from conemos_bundle.volumes.fingerprints import weights_hash
from ignite.engine import Engine
from torch import nn


class LoadWeights:
    """Load weights when the evaluator is made: a training that writes a better ``model.pt`` amid a batch shall not mix
    two models in it, and weights that do not fit are told before the first scan.

    Args:
        load_path: the weights.
        load_dict: the networks to load them into, by any names.
        made_by: of `model_and_settings`: what the weights are known by.
    """

    def __init__(
        self,
        load_path: str | os.PathLike[str],
        load_dict: Mapping[str, nn.Module],
        made_by: Mapping[str, Any] | None = None,
    ) -> None:
        self.load_path = str(load_path)
        self.load_dict = load_dict
        self.made_by = made_by

    def attach(self, engine: Engine) -> None:
        """Load.

        Raises:
            UserError: the file cannot be read, is another network's, or has changed since its hash was taken.
        """
        weights = load_weights(self.load_path)
        for network in self.load_dict.values():
            fit_weights(network, weights, self.load_path)
        if self.made_by is not None and weights_hash(self.load_path) != self.made_by["model"]:
            raise UserError(f"{self.load_path}: changed while it was read; start again")
