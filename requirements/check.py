"""Whether each installed package finds what it asks for, as `pip check`, which newer pips end on ITK's tags."""

import sys
from importlib.metadata import PackageNotFoundError, distributions, version

from packaging.requirements import Requirement

missing = []
for distribution in distributions():
    for requirement in map(Requirement, distribution.requires or []):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = None
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            missing.append(f"{distribution.metadata['Name']} asks for {requirement}, installed is {found or 'none'}")
sys.exit("\n".join(missing) or 0)
