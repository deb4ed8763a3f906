"""``run.json``: what a finished training says of itself, as a schema.

A run folder may come from anybody. What is in here reaches MONAI's configurations and the names of files, so all of it
is checked by type and value, and a network is one of this package with its own arguments.
"""

from __future__ import annotations

import inspect
import math
import os
from typing import Annotated, Any, Literal

import torch
from conemos_bundle import networks
from conemos_bundle.names import MOST_REGIONS, RegionName, check_inside, same_file, told_apart
from conemos_bundle.scales import MOST_LEVELS, RegionScale, check_scales, spacings
from conemos_bundle.utils.records import Strict, Text, read_as
from pydantic import AfterValidator, ConfigDict, Field, model_validator
from torch import nn


def _refuse(reason: str) -> Any:
    raise ValueError(reason)


RECORD = "run.json"
PACKAGE = "conemos_bundle.networks."
_NETWORKS: dict[str, type[nn.Module]] = {**networks.NETWORKS, **networks.OF_GROWING}
MOST_PARAMETERS = 10**9
MOST_LAYERS = 50_000
MOST_ADDED = 64  # regions that a model may be taught: each has a backbone
MOST_VOXELS = 2**30  # of a patch

Regions = list[RegionName]
Spacing = Annotated[list[Annotated[float, Field(ge=1e-5, le=1e3)]], Field(min_length=3, max_length=3)]  # mm
PatchSize = Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=3, max_length=3)]  # voxels
Channels = Annotated[int, Field(ge=1, le=256)]
Count = Annotated[int, Field(ge=0, le=10**12)]
Key = Annotated[Text, AfterValidator(lambda key: _refuse(f"{key[:20]!r} is MONAI's") if key.startswith("_") else key)]
Value = bool | Annotated[int, Field(ge=-(10**18), le=10**18)] | float | Text | None


class Plan(Strict):
    """What the training data say about the network's input (`plan_input`)."""

    in_channels: Channels
    spacing: Spacing
    patch_size: Annotated[
        PatchSize, AfterValidator(lambda sides: sides if math.prod(sides) <= MOST_VOXELS else _refuse("too large"))
    ]
    whole_scans: bool | None = None
    scales: dict[RegionName, RegionScale] | None = None

    @property
    def scales_of_regions(self) -> dict[str, dict[str, Any]] | None:
        """The scales as `plan_scales` gave them; None where all regions have one spacing."""
        return self.model_dump(exclude_unset=True).get("scales")


def _known_network(name: str) -> str:
    if name.removeprefix(PACKAGE) not in _NETWORKS:
        raise ValueError(f"{name[:60]!r} is none of this package ({', '.join(_NETWORKS)})")
    return PACKAGE + name.removeprefix(PACKAGE)


class NetworkConfig(Strict):
    """A network of this package and its arguments; those that are not given are the network's defaults."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, populate_by_name=True)

    target: Annotated[str, AfterValidator(_known_network)] = Field(alias="_target_")
    in_channels: Channels = 1
    num_regions: Annotated[int, Field(ge=1, le=MOST_REGIONS)] = 1
    channels: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Field(min_length=1, max_length=8)]
    convs_per_level: Annotated[int, Field(ge=1, le=16)] = 2
    norm: Literal["instance", "batch"] | None = None
    skip: Literal["last", "first_conv"] = "last"
    mlp_width: Annotated[int, Field(ge=1, le=2**14)] = 64
    mlp_depth: Annotated[int, Field(ge=0, le=64)] = 4
    n_conditioned: Annotated[int, Field(ge=0, le=1024)] | None = None
    film_position: Literal["after_activation", "before_activation"] = "after_activation"
    film_init: Literal["glorot", "identity"] = "glorot"
    last_relu: bool = True
    capacity: Literal["film", "low_rank", "decoder"] = "low_rank"
    rank: Annotated[int, Field(ge=1, le=1024)] = 4
    added: Annotated[int, Field(ge=1, le=MOST_ADDED)] = 1
    spacings: Annotated[list[Spacing], Field(min_length=1, max_length=MOST_LEVELS)] | None = None

    @model_validator(mode="after")
    def _of_this_package(self) -> NetworkConfig:
        name = self.target.removeprefix(PACKAGE)
        unknown = self.model_fields_set - {"target"} - set(inspect.signature(_NETWORKS[name]).parameters)
        if unknown:
            raise ValueError(f"{name} has no argument {min(unknown)!r}")
        self.model_fields_set.update(("in_channels", "num_regions"))  # configurations refer to them
        least = self.added + 1 if name == "GrownUNet" else 1
        if self.num_regions < least or (name == "AddedRegion" and self.num_regions > 1):
            raise ValueError(f"{name} of {self.num_regions} regions")
        one = self._size(least)
        more = one if self.num_regions == least else self._size(least + 1)  # each region adds as much
        parameters, layers = (a + (self.num_regions - least) * (b - a) for a, b in zip(one, more, strict=True))
        if parameters > MOST_PARAMETERS:
            raise ValueError(f"{parameters} parameters, more than {MOST_PARAMETERS}")
        if layers > MOST_LAYERS:  # to build them takes minutes
            raise ValueError(f"{layers} layers, more than {MOST_LAYERS}")
        return self

    def _size(self, num_regions: int) -> tuple[int, int]:
        """Parameters and layers with so many regions."""
        with torch.device("meta"):  # takes no memory
            network = _NETWORKS[self.target.removeprefix(PACKAGE)](**{**self.arguments, "num_regions": num_regions})
        return sum(parameter.numel() for parameter in network.parameters()), sum(1 for _ in network.modules())

    @property
    def arguments(self) -> dict[str, Any]:
        """What was given, but for the network's name."""
        return self.model_dump(exclude_unset=True, exclude={"target"})

    @property
    def as_config(self) -> dict[str, Any]:
        """What a configuration instantiates: ``_target_`` and the arguments that were given."""
        return self.model_dump(exclude_unset=True, by_alias=True)

    @property
    def is_conditioned(self) -> bool:
        """Whether it is CoNeMOS's network."""
        return self.target == f"{PACKAGE}FiLMUNet"

    @property
    def has_grown(self) -> bool:
        """Whether regions were added to it."""
        return self.target == f"{PACKAGE}GrownUNet"

    def build(self) -> nn.Module:
        """The network, with random weights.

        Raises:
            ValueError: the arguments do not go together.
        """
        network: nn.Module = _NETWORKS[self.target.removeprefix(PACKAGE)](**self.arguments)
        return network


class Source(Strict):
    """What a datalist said of its data set."""

    name: Text = ""
    description: Text = ""
    modality: Text = ""
    license: Text = ""
    reference: Text = ""


class Taught(Source):
    """What an added region was taught with: the data set, and what was learned beside the frozen weights."""

    capacity: Literal["film", "low_rank", "decoder"] | None = None
    rank: Annotated[int, Field(ge=1, le=1024)] | None = None


class Description(Source):
    """What the datalist said of the data set, and how many scans annotate each region, per split."""

    annotated: dict[Literal["training", "validation", "test"], dict[Key, Count]] = Field(default_factory=dict)


class Run(Strict):
    """A finished run."""

    regions: Annotated[Regions, Field(min_length=1, max_length=MOST_REGIONS)]
    plan: Plan
    network: NetworkConfig
    inside: dict[RegionName, RegionName] = Field(default_factory=dict)
    parameters: Count | None = None
    settings: dict[Key, Value | list[Value]] = Field(default_factory=dict)
    machine: Text = ""
    versions: dict[Key, Text] = Field(default_factory=dict)
    data: Description = Field(default_factory=Description)
    began_with: Annotated[list[Source], Field(max_length=256)] = Field(default_factory=list)  # data of earlier weights
    added: dict[RegionName, Taught] = Field(default_factory=dict)
    evaluation: dict[Key, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    temperature: Annotated[float, Field(ge=0.01, le=100)] | None = None  # for probabilities (`fit_temperature`)

    @model_validator(mode="after")
    def _consistent(self) -> Run:
        if pair := same_file(self.regions):
            raise ValueError(f"'regions' {told_apart(pair)}")
        expected = self.network.num_regions
        if expected != len(self.regions):
            raise ValueError(f"names {len(self.regions)} regions, but its network has {expected}; train again")
        if self.plan.in_channels != self.network.in_channels:
            raise ValueError("'plan' and 'network' differ in 'in_channels'")
        check_inside(self.inside, self.regions)
        if unknown := self.added.keys() - set(self.regions):
            raise ValueError(f"'added' names {min(unknown)!r}, which 'regions' does not")
        plan = self.plan.model_dump(exclude_unset=True)
        if self.plan.scales is not None:
            check_scales(plan["scales"], self.regions)
        if spacings(plan) != self.network.spacings:
            raise ValueError("'plan' and 'network' differ in the spacings of regions")
        columns = {"scans", *self.regions}
        if any(set(counts) != columns for counts in self.data.annotated.values()):
            raise ValueError("'data.annotated' counts other regions than 'regions'; train again")
        return self


def sources_of(record: Run) -> list[Source]:
    """The data sets that a model has learned from, each once: those that its training began with, and its own."""
    told = [*record.began_with, *record.added.values(), record.data]
    sources = [Source.model_validate(one.model_dump(include=set(Source.model_fields))) for one in told]
    return [source for place, source in enumerate(sources) if source not in sources[:place]]


def read_run(path: str | os.PathLike[str]) -> Run:
    """Read and check a ``run.json``.

    Raises:
        UserError: it cannot be read, or says what no training of this package does.
    """
    return read_as(Run, path, " the record of the training", "; not a record of a training of this package")


def as_dictionary(run: Run) -> dict[str, Any]:
    """What is written in the file: the fields that were given."""
    return run.model_dump(exclude_unset=True, by_alias=True)
