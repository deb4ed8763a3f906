"""What a client of MONAI Label asks for. Every value of a request is untrusted text: compared, never evaluated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from conemos_bundle.errors import UserError
from conemos_bundle.inferers import asked_regions

FORMATS = ("labelmap", "seg.nrrd")
_BOX = "region_"
_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,3})?")


class Options(dict[str, Any]):
    """Options that MONAI Label shows to clients, and never writes into its configuration.

    For each request, `BundleInferTask` copies the request's value of each of ``displayable_configs.keys()`` into the
    bundle's configuration, where a text that begins with ``$`` is code, and one with ``%`` a file to read. Our task
    reads the request itself, so there are no such keys; ``dict.update(options)`` copies the options all the same,
    which is how the clients come to see them.
    """

    def keys(self) -> Any:
        """None: see the class."""
        return {}.keys()


def region_options(region_names: Sequence[str]) -> Options:
    """``displayable_configs`` of inference.json: a text field ``regions``, and a check box a region."""
    return Options({"regions": "", **{_BOX + region: True for region in region_names}})


def requested_regions(request: Mapping[str, Any], region_names: Sequence[str]) -> list[str]:
    """The regions that a request asks for.

    Args:
        request: ``regions``, one name, several with commas, or a list; where it is empty, the check boxes
            ``region_<name>`` count, ticked where they are missing. Upper and lower case are alike, as MONAI Label shows
            names in lower case.
        region_names: the K regions.

    Raises:
        UserError: an unknown region, one named twice, no box is ticked, or a value of another type.
    """
    known = ", ".join(region_names)
    named: Any = request.get("regions") or []
    most = len(region_names) * (1 if isinstance(named, list | tuple) else 100)
    if isinstance(named, str | list | tuple) and len(named) > most + 1:
        raise UserError(f"regions: more than there are; this model knows: {known}")
    if isinstance(named, str):
        named = [name.strip() for name in named.split(",") if name.strip()]
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise UserError(f"regions: give names, as a list or with commas between them; this model knows: {known}")
    if named:
        spelt = {region.lower(): region for region in region_names}
        return asked_regions([str(spelt.get(name.lower(), name)) for name in named], region_names)
    ticked = [region for region in region_names if _is_ticked(_BOX + region, request.get(_BOX + region, True))]
    if not ticked:
        raise UserError(f"no region is ticked; tick at least one of: {known}")
    return ticked


def _is_ticked(option: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise UserError(f"{option}: use true or false")


def checked_format(value: Any) -> str:
    """The output format asked for; an untouched option arrives as the list of all.

    Raises:
        UserError: there is no such format.
    """
    value = value[0] if isinstance(value, list) and value else value
    if value not in FORMATS:
        raise UserError(f"output_format: use one of {', '.join(FORMATS)}")
    return str(value)


def reject_bad_values(request: Mapping[str, Any], device_names: Sequence[str], model_files: Sequence[str]) -> None:
    """Refuse what MONAI Label would pass on as it is: to its configuration, to `torch.device` and to `torch.load`.

    Args:
        request: the client's request.
        device_names: devices as the server shows them.
        model_files: the model's files, which a client may choose one of.

    Raises:
        UserError: a device or a file that is not among them.
    """
    for option, allowed in (("device", device_names), ("model_filename", model_files)):
        value: Any = request.get(option)
        value = value[0] if isinstance(value, list | tuple) and value else value
        if value in (None, "", []):
            continue
        is_device = option == "device" and isinstance(value, str) and bool(_DEVICE.fullmatch(value))
        if not isinstance(value, str) or not (value in allowed or (is_device and not _is_missing_gpu(value))):
            raise UserError(f"{option}: use one of {', '.join(allowed)}")


def _is_missing_gpu(name: str) -> bool:
    """Without any GPU, MONAI Label takes the CPU instead."""
    number = name.partition(":")[2]
    return bool(number) and torch.cuda.is_available() and int(number) >= torch.cuda.device_count()


def number(request: Mapping[str, Any], option: str, default: float, least: float, most: float) -> float:
    """A number that a request gives, as such or as a text.

    Raises:
        UserError: it is none, or out of its range.
    """
    try:
        value = float(request.get(option, default))
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not least <= value <= most:
        raise UserError(f"{option}: give a number from {least:g} to {most:g}")
    return value


def refuse(error: UserError, status: int = 400) -> NoReturn:
    """Answer with the error's line; MONAI Label makes a bare 500 of any other error.

    Raises:
        fastapi.HTTPException: where there is a server; else the error itself.
    """
    try:
        from fastapi import HTTPException
    except ImportError:
        raise error from None
    raise HTTPException(status_code=status, detail=str(error)) from error
