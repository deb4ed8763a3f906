"""Weights of an evaluator that runs once per scan: loaded once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.fingerprints import weights_hash
from ignite.engine import Engine
from monai.handlers import CheckpointLoader


class LoadWeights(CheckpointLoader):
    """MONAI's, which loads at the first run alone: a training that writes a better ``model.pt`` amid a batch shall not
    mix two models in it.

    Args:
        load_path: the weights.
        load_dict: as for `CheckpointLoader`.
        map_location: as for `CheckpointLoader`.
        made_by: of `model_and_settings`: what the weights are known by.
    """

    def __init__(
        self,
        load_path: str | os.PathLike[str],
        load_dict: dict[str, Any],
        map_location: Any = None,
        made_by: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(str(load_path), load_dict, map_location=map_location)
        self.made_by = made_by
        self.loaded = False

    def __call__(self, engine: Engine) -> None:
        """Load, the first time.

        Raises:
            UserError: the file has changed since its hash was taken.
        """
        if self.loaded:
            return
        super().__call__(engine)
        if self.made_by is not None and weights_hash(self.load_path) != self.made_by["model"]:
            raise UserError(f"{self.load_path}: changed while it was read; start again")
        self.loaded = True
