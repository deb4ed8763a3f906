"""Which options a request to MONAI Label may have. It would pass on any other, to its own code and to command lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.checks import IMAGES, checked_name

FINAL = "final"  # the tag of what annotators submit, which training reads
Check = Callable[[Any], bool]
_DEVICE = re.compile(r"[\w .()\[\]-]{1,80}(:\d{1,3})?")  # cpu, cuda:1, or a GPU's name
_TYPES = ("uint8", "uint16", "int16", "int32", "float32")


def _any(value: Any) -> bool:
    return True  # what reads it checks it


def _text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= 200


def _flag(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("true", "false"))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 20)


def _few(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value <= 64


def _device(value: Any) -> bool:
    """One, or all of them: what was not touched arrives as the list that clients were shown."""
    names = value if isinstance(value, list) else [value]
    return bool(names) and all(isinstance(name, str) and _DEVICE.fullmatch(name) for name in names)


def _gpus(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"all|\d{1,3}(,\d{1,3}){0,31}", value))


def _tag(value: Any) -> bool:
    if checked_name("label_tag", value).casefold() == FINAL:  # a predicted mask would take an annotator's place
        raise UserError(f"label_tag: {FINAL!r} is the tag of what annotators submit; take another")
    return True


def _images(value: Any) -> bool:
    return value in ("all", "labeled", "unlabeled") or (
        isinstance(value, list) and all(checked_name("images", name) for name in value)
    )


_REGIONS: dict[str, Check] = {"regions": _any, "region_": _any, "output_format": _any, "model_filename": _any}
_RESULT: dict[str, Check] = {
    "result_extension": lambda value: value in (*IMAGES, ".seg.nrrd"),
    "result_dtype": lambda value: value in _TYPES,
    "result_compress": _flag,
    "label_tag": _tag,
    "save_label": _flag,
}
OPTIONS: dict[str, dict[str, Check]] = {
    "infer": {"model": _text, "image": _any, "device": _any, **_REGIONS, **_RESULT},
    "batch_infer": {
        "model": _text, "images": _images, "device": _device, "gpus": _gpus, "multi_gpu": _flag, "max_workers": _few,
        "max_batch_size": lambda value: isinstance(value, int) and 0 <= value <= 10**6, **_REGIONS, **_RESULT,
    },
    "scoring": {"method": _text, "max_scans": _number},
    "train": {
        "model": _text, "device": _device, "gpus": _gpus, "max_epochs": _number, "steps_per_epoch": _number,
        "learning_rate": _number, "val_split": _number, "pretrained": _flag, "region": _text, "least_dice": _number,
    },
}  # fmt: skip


def known_options(kind: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a request that are known; the rest is left out. Switches are booleans, also where texts came.

    Args:
        kind: ``infer``, ``batch_infer``, ``scoring`` or ``train``.
        request: a client's.

    Raises:
        UserError: a known one has a value that cannot be.
    """
    checks, known = OPTIONS[kind], dict[str, Any]()
    for option, value in request.items():
        check = checks.get("region_" if option.startswith("region_") else option)
        if check is None or value is None:
            continue
        if not check(value):
            raise UserError(f"{option}: {str(value)[:80]!r} cannot be used here")
        known[option] = str(value).lower() == "true" if check is _flag else value  # "false" would count as true
    return known
