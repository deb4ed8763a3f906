"""Refusing to train on a datalist that cannot work."""

from __future__ import annotations

from conemos_bundle.data.check import structural_problems
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError


def validate_datalist(datalist: Datalist, dataset_dir: str) -> None:
    """Check what costs no time (files, subjects, counts) before training starts.

    Raises:
        UserError: the first error, and how many more `conemos check` would show.
    """
    errors = [line for line in structural_problems(datalist, dataset_dir) if line.startswith("error: ")]
    if errors:
        more = f" (and {len(errors) - 1} more: 'conemos check' lists them)" if len(errors) > 1 else ""
        raise UserError(errors[0].removeprefix("error: ") + more)
