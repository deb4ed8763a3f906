"""Where things lie on a machine: what no job says, and each site keeps to itself.

The environment variable ``CONEMOS_FEDERATED`` names a JSON file with an entry for each FLARE site of this machine::

    {"hospital-a": {"datalist": "/data/liver/datalist.json", "output": "/data/federated"}}

and on the server's machine ``{"server": {"output": "/data/runs/federated"}}``.
"""

from __future__ import annotations

import os
from pathlib import Path

from conemos_bundle.errors import UserError
from conemos_bundle.utils.records import PathText, Strict, read_json
from pydantic import ValidationError

VARIABLE = "CONEMOS_FEDERATED"


class Place(Strict):
    """A site's datalist and the folder where its paths start, and the folder for its log; the server's run folder."""

    output: PathText
    datalist: PathText | None = None
    dataset_dir: PathText | None = None


def place_of(site: str) -> Place:
    """The places of a site on this machine.

    Args:
        site: its name in FLARE, or ``server``.

    Raises:
        UserError: nothing says, or it is not said right.
    """
    file = os.environ.get(VARIABLE)
    if not file:
        raise UserError(f"{VARIABLE} is not set; let it name a file that says where {site} has its datalist and output")
    places = read_json(file, " where things lie")
    if not isinstance(places, dict) or site not in places:
        raise UserError(f"{file}: has no entry {site!r}")
    try:
        place = Place.model_validate(places[site])
    except ValidationError as error:
        raise UserError(
            f"{file}: {site}: give 'output' and, of a site, 'datalist' (and 'dataset_dir'), as texts"
        ) from error
    if site != "server" and place.datalist is None:
        raise UserError(f"{file}: {site}: 'datalist' is missing")
    Path(place.output).expanduser().mkdir(parents=True, exist_ok=True)
    return place
