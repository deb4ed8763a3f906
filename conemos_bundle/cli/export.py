"""`conemos export`: a bundle's network in formats that need neither MONAI nor this package."""

from __future__ import annotations

from collections.abc import Sequence

from conemos_bundle.cli.arguments import names_of
from conemos_bundle.cli.next_step import say_next
from conemos_bundle.errors import UsageError
from conemos_bundle.utils.nearest import check_path, suggestion

FORMATS = ("ts", "pt2", "onnx")


def export(bundle: str, formats: str | Sequence[str] = FORMATS) -> None:
    """Write ``models/model.ts``, ``model.pt2`` and ``model.onnx`` into a bundle, each compared with the network.

    Args:
        bundle: its folder.
        formats: which of ``ts``, ``pt2`` and ``onnx``; ONNX needs ``pip install 'conemos-bundle[export]'``.

    Raises:
        UserError: no bundle, no such format, or a file that differs from the network by more than 1e-4.
    """
    folder = check_path(str(bundle), is_folder=True)
    asked = names_of(formats) if isinstance(formats, str) else list(formats)
    for name in asked:
        if name not in FORMATS:
            raise UsageError(f"--formats {name!r}: use some of {','.join(FORMATS)}{suggestion(name, FORMATS)}")

    from conemos_bundle.hosts.bundle.exporting import export_bundle

    export_bundle(folder, asked)
    say_next("predict", "SCAN", "--model", str(bundle))
