"""What is trained: the regions, the plan, the settings; a file that the coordinator writes and each site checks."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from conemos_bundle.errors import UsageError, UserError
from conemos_bundle.names import MOST_REGIONS, RegionName, same_file, told_apart
from conemos_bundle.utils.config_files import overlay_files
from conemos_bundle.utils.nearest import suggestion
from conemos_bundle.utils.records import Strict, one_line
from pydantic import AfterValidator, Field, ValidationError, model_validator

METHODS = ("", "psl_loss", "multi_layer", "multi_decoder", "dodnet", "individual")  # overlays that need no other run
# of train.json; what else there is names files, or is each machine's own
SETTINGS = (
    "learning_rate", "batch_size", "channels", "n_conditioned", "sampling_rule", "regions_per_scan",
    "film_weight_decay", "cross_entropy", "rotation_degrees", "flip_probability", "bfloat16", "spacing", "patch_size",
    "most_voxels", "seed",
)  # fmt: skip
PLANNED = ("spacing", "patch_size", "most_voxels")  # in the plan then
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _site(name: str) -> str:
    if not _SITE.fullmatch(name) or name == "server":
        raise ValueError(f"site {name[:20]!r}: use letters, digits, '.', '_' and '-', and not 'server'")
    return name


def _is_side(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_width(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 4096


Site = Annotated[str, AfterValidator(_site)]
Rate = Annotated[float, Field(ge=0, le=1e6)]
Word = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]  # such as inverse_size: nothing that MONAI would evaluate
Count = Annotated[int, Field(ge=0, le=2**40)]
Value = bool | Count | Rate | Word | None
Three = Annotated[list[Annotated[float, Field(gt=0, le=1e4)]], Field(min_length=3, max_length=3)]


class InputPlan(Strict):
    """The network's input, the same at every site (`plan_input`)."""

    in_channels: Annotated[int, Field(ge=1, le=256)]
    spacing: Three
    patch_size: Annotated[list[Annotated[int, Field(ge=1, le=512)]], Field(min_length=3, max_length=3)]
    whole_scans: bool


class Job(Strict):
    """A federated training.

    ``regions`` of all sites in channel order; ``sites`` by name; ``rounds`` of ``local_steps`` steps at each site;
    ``method``: an overlay, empty for CoNeMOS; ``settings`` of train.json; ``region_wise``: see `average`; ``plan``:
    None until the sites have told their channels, spacings and extents.
    """

    regions: Annotated[list[RegionName], Field(min_length=1, max_length=MOST_REGIONS)]
    sites: Annotated[list[Site], Field(min_length=1, max_length=1000)]
    rounds: Annotated[int, Field(ge=1, le=10**5)]
    local_steps: Annotated[int, Field(ge=1, le=10**6)]
    method: Literal["", "psl_loss", "multi_layer", "multi_decoder", "dodnet", "individual"] = ""
    settings: dict[str, Value | Annotated[list[Value], Field(max_length=16)]] = Field(default_factory=dict)
    region_wise: bool = True
    plan: InputPlan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Job:
        if pair := same_file(self.regions):
            raise ValueError(f"'regions' {told_apart(pair)}")
        if len(set(self.sites)) < len(self.sites):
            raise ValueError("'sites' names a site twice")
        for name in self.settings:
            if name not in SETTINGS:
                raise ValueError(f"'settings' has {name[:40]!r}, which is not one of {', '.join(SETTINGS)}")
        for name, sides in (("spacing", self.settings.get("spacing")), ("patch_size", self.settings.get("patch_size"))):
            if sides is not None and not (isinstance(sides, list) and len(sides) == 3 and all(map(_is_side, sides))):
                raise ValueError(f"{name}: give three numbers above 0, such as [1,1,2]")
        channels = self.settings.get("channels")
        if channels is not None and not (isinstance(channels, list) and all(map(_is_width, channels)) and channels):
            raise ValueError("channels: give the features of each level, such as [16,32,64,128]")
        return self


def make_job(
    regions: Sequence[str],
    sites: Sequence[str],
    rounds: int,
    local_steps: int,
    method: str = "",
    settings: Mapping[str, Any] | None = None,
    region_wise: bool = True,
) -> Job:
    """A job of what was typed; arguments as for `Job`.

    Raises:
        UsageError: something in it is wrong.
    """
    if method not in METHODS:
        named = [each for each in METHODS if each]
        raise UsageError(f"--method {method!r}: use one of {', '.join(named)}{suggestion(method, named)}")
    for name in settings or {}:
        if name not in SETTINGS:
            near = suggestion(f"--{name}", [f"--{each}" for each in (*SETTINGS, "rounds", "local_steps", "method")])
            raise UsageError(f"--{name}: no such option of 'conemos federate'{near}; settings: {', '.join(SETTINGS)}")
    try:
        return Job(
            regions=list(regions), sites=list(sites), rounds=rounds, local_steps=local_steps, method=method,  # type: ignore[arg-type]
            settings=dict(settings or {}), region_wise=region_wise,
        )  # fmt: skip
    except ValidationError as error:
        raise UsageError(one_line(error)) from error


def read_job(text: str) -> Job:
    """A job of its JSON text, which came from elsewhere.

    Raises:
        UserError: it is none.
    """
    try:
        return Job.model_validate(json.loads(text))
    except ValidationError as error:
        raise UserError(f"the job: {one_line(error)}") from error
    except ValueError as error:
        raise UserError("the job: not valid JSON") from error


def config_files(job: Job) -> list[Path]:
    """train.json and the method's overlay."""
    return overlay_files([job.method] if job.method else [])


def config_settings(job: Job) -> dict[str, Any]:
    """What a site and the server change in them.

    Raises:
        UserError: the job has no plan yet.
    """
    if job.plan is None:
        raise UserError("the job has no plan yet: its sites have not told their spacings")
    settings = {name: value for name, value in job.settings.items() if name not in PLANNED}
    return {
        **settings,
        "regions": list(job.regions),
        "plan": job.plan.model_dump(),
        "max_epochs": job.rounds,
        "steps_per_epoch": job.local_steps,
    }
