"""`conemos export`: a bundle's network in formats that need neither MONAI nor this package."""

from __future__ import annotations

from collections.abc import Sequence

from conemos_bundle.cli.arguments import names_of
from conemos_bundle.cli.next_step import say_next
from conemos_bundle.hosts.bundle.formats import FORMATS, checked_formats
from conemos_bundle.utils.nearest import check_path


def export(bundle: str, formats: str | Sequence[str] = FORMATS) -> None:
    """Write ``models/model.ts``, ``model.pt2`` and ``model.onnx`` into a bundle, each compared with the network.

    Args:
        bundle: its folder.
        formats: which of ``ts``, ``pt2`` and ``onnx``; ONNX needs ``pip install 'conemos-bundle[export]'``.

    Raises:
        UserError: no bundle, no such format, one that the network cannot be written in (the others are), or a file that
            differs from the network by more than 1e-4.
    """
    folder = check_path(str(bundle), is_folder=True)
    asked = checked_formats(names_of(formats) if isinstance(formats, str) else formats)

    from conemos_bundle.hosts.bundle.exporting import export_bundle

    export_bundle(folder, asked)
    say_next("predict", "SCAN", "--model", str(bundle))
