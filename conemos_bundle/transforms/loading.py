"""Loading a scan, with errors that name the file."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from conemos_bundle.errors import UserError
from monai.transforms import LoadImaged


class LoadImageScand(LoadImaged):
    """MONAI's `LoadImaged`, channel first; a file that no reader can read is the user's to mend.

    Hosts drop transforms whose name contains ``LoadImage`` when they bring the image themselves.
    """

    def __init__(self, keys: str = "image") -> None:
        super().__init__(keys=keys, image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """
        Raises:
            UserError: a file is missing, truncated or no image.
        """
        try:
            loaded: dict[Hashable, Any] = super().__call__(data, reader)
        except Exception as error:  # readers raise whatever they like
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise UserError(f"{data[self.keys[0]]}: cannot be read ({reason}); export the scan again") from error
        return loaded
