"""The startup kits that `nvflare provision` makes, for this job alone: no other class is loaded, no log is sent."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from conemos_bundle.errors import UsageError
from conemos_bundle.files import write_in_one_step
from conemos_bundle.hosts.federated.simulate import RESTRICTED
from conemos_bundle.utils.records import read_json


def restrict_kit(kit: Path) -> Path:
    """Write ``local/resources.json`` of a startup kit: what jobs may load there, and that logs stay.

    As it comes, FLARE sends the error log of each site to the server, and an error may name a scan.

    Args:
        kit: of the server or of a site, with ``local/resources.json.default``.

    Returns:
        the file.

    Raises:
        UsageError: it is no startup kit.
    """
    default = kit / "local" / "resources.json.default"
    if not default.is_file():
        raise UsageError(f"{kit}: no startup kit: it has no local/resources.json.default")
    resources = read_json(default)
    resources.update(RESTRICTED)
    components = resources.get("components", [])
    resources["components"] = [each for each in components if not each.get("path", "").endswith("SiteLogStreamer")]
    content = (json.dumps(resources, indent=4) + "\n").encode()
    file = kit / "local" / "resources.json"
    write_in_one_step(file, partial(Path.write_bytes, data=content))
    return file
