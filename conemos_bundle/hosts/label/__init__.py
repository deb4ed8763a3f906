"""MONAI Label serves the bundle: regions on demand, training from what annotators saved, active learning.

`app`, `asgi`, `submitted`, `tasks` need monailabel, which lives in an environment of its own; the rest does not.
"""

from conemos_bundle.hosts.label.requests import region_options

__all__ = ["region_options"]
