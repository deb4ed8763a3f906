"""What we read of a bundle's ``metadata.json``: its name and what its channels are."""

from __future__ import annotations

import os
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.names import MOST_REGIONS, check_region_names
from conemos_bundle.utils.records import one_line, read_json
from pydantic import BaseModel, Field, ValidationError, model_validator


class _Output(BaseModel, strict=True):
    channel_def: dict[str, str] = Field(min_length=2, max_length=MOST_REGIONS + 1)

    @model_validator(mode="after")
    def _numbered(self) -> _Output:
        if set(self.channel_def) != {str(i) for i in range(len(self.channel_def))}:
            raise ValueError(f"channel_def: its keys must be '0' to {str(len(self.channel_def) - 1)!r}, each once")
        return self


class _Outputs(BaseModel, strict=True):
    pred: _Output


class _Format(BaseModel, strict=True):
    outputs: _Outputs


class _Metadata(BaseModel, strict=True):
    name: str = ""
    network_data_format: _Format


def read_metadata(path: str | os.PathLike[str]) -> tuple[dict[str, Any], list[str]]:
    """The metadata of a bundle, and the names of the network's K regions, in channel order.

    Raises:
        UserError: the file cannot be read, names no regions, or names that cannot be regions'.
    """
    content = read_json(path)
    try:
        channels = _Metadata.model_validate(content).network_data_format.outputs.pred.channel_def
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error)}") from error
    return content, check_region_names([channels[str(k)] for k in range(1, len(channels))], str(path))  # 0: no region
