"""`conemos label-app`: the folder that MONAI Label serves."""

from __future__ import annotations

import shlex
from pathlib import Path

from conemos_bundle.utils.nearest import check_path
from conemos_bundle.utils.paths import bundle_folder


def label_app(output: str, bundle: str | None = None, name: str | None = None, region_bundles: bool = False) -> None:
    """Write the app folder of a bundle for `monailabel start_server --app`; a model trained there stays.

    Args:
        output: the folder to write or to bring up to date.
        bundle: the bundle's folder; default: the hippocampus model of this package.
        name: the model's name in the clients; default: the bundle's.
        region_bundles: add a thin bundle per region, for 3D Slicer.

    Raises:
        UserError: the folder is no bundle.
    """
    source = check_path(str(bundle), is_folder=True) if bundle else bundle_folder()

    from conemos_bundle.hosts.label.app_folder import write_app

    for folder in write_app(source, Path(str(output)).expanduser().absolute(), name, region_bundles):
        print(f"wrote {folder}")
    print(f"next: monailabel start_server --app {shlex.quote(str(output))} --studies STUDIES")
