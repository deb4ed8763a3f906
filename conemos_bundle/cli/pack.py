"""`conemos pack`: a finished run as a bundle of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.errors import UserError
from conemos_bundle.utils.nearest import check_path


def pack(
    run: str,
    output: str,
    name: str | None = None,
    version: str = "0.1.0",
    changes: str = "first version",
    authors: str | None = None,
    archive: bool = False,
    formats: str | Sequence[str] = (),
    weights_url: str | None = None,
    hugging_face: bool = False,
    unit_tests: str | None = None,
) -> None:
    """Make a bundle folder of a finished run: metadata, channel names, weights, configurations, package, license.

    Args:
        run: folder of the run.
        output: the bundle folder to make.
        name: name of the bundle; default: the folder's.
        version: its version.
        changes: what the changelog says of this version.
        authors: who made the model.
        archive: write a zip beside the folder too, and its sha256 sum.
        formats: exports to add: some of ``ts``, ``pt2`` and ``onnx`` (`conemos export`).
        weights_url: address of a folder that will hold the weights; for the Model Zoo's ``large_files.yml``.
        hugging_face: add the ``README.md`` and ``.gitattributes`` of a repository on the Hugging Face hub.
        unit_tests: a folder for the Model Zoo's unit tests of this bundle: ``ci/unit_tests`` of a clone of it.

    Raises:
        UserError: there is no model in the run; ``output``, or a file that would be written beside it, exists; or a
            name that the Model Zoo does not take: with ``_v`` in it or, with ``unit_tests``, part of the name of
            another bundle of that zoo or the other way round.
    """
    check_path(str(run), is_folder=True)
    target = Path(str(output)).expanduser()
    if target.exists():
        raise UserError(f"{output}: exists; pass another --output")

    from conemos_bundle.hosts.bundle.packing import pack_run

    pack_run(run, output, name, version, changes, authors, archive, formats, weights_url, hugging_face, unit_tests)
    say_next("predict", "SCAN", "--model", str(output))
