"""`conemos import-keras`: a checkpoint of the authors' TensorFlow code as a run of ours."""

from __future__ import annotations

from collections.abc import Sequence

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.utils.nearest import check_path


def import_keras(
    checkpoint: str,
    regions: str | Sequence[str] | None = None,
    output: str = "runs/keras",
    spacing: Sequence[float] = (3.0, 3.0, 3.0),
    patch_size: Sequence[int] = (96, 96, 96),
) -> None:
    """Turn a checkpoint of the authors' code into a run, to predict with (`--model`) or to pack.

    Args:
        checkpoint: the ``.h5`` file.
        regions: names of its K regions, in their order in its training; default: ``region 1`` … ``region K``.
        output: folder of the run to make.
        spacing: voxel spacing in mm of the scans it was trained on.
        patch_size: voxels of its training crops.

    Raises:
        UserError: the checkpoint cannot be read, the number of names is not K, spacing or patch size are none, or the
            folder holds a run, finished or not.
    """
    check_path(str(checkpoint), is_folder=False)

    from conemos_bundle.importers.keras import import_run

    import_run(checkpoint, regions, output, spacing, patch_size)
    say_next("predict", "SCAN", "--model", str(output))
