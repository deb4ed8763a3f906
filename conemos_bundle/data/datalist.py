"""The datalist: which scans there are, and where the mask of each region that is annotated lies.

A datalist is a JSON file with MONAI's keys::

    {
      "name": "hippocampus",
      "regions": ["hippocampus", "anterior", "posterior"],
      "training": [
        {
          "image": "images/case_004.nii.gz",
          "subject": "case_004",
          "masks": {
            "anterior":  {"file": "labels/case_004.nii.gz", "values": [1]},
            "posterior": "masks/posterior/case_004.nii.gz",
            "hippocampus": {"file": "channels/case_004.nii.gz", "channel": 0}
          }
        }
      ],
      "validation": [], "test": []
    }

A mask is a binary file (a plain string, or ``{"file": …}``), some values of a label map, one channel of a 4D file, or
a segment of a ``.seg.nrrd``. A region that ``masks`` does not name is unknown in that scan, never background. One that
is known not to be there is ``{"absent": true}``. Voxels whose answer nobody knows have a value of ``"ignore"``, or are
0 in the binary file ``"known"``. Relative paths start at the data set's folder, or at the datalist's own where no
folder is given.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from unicodedata import normalize

from conemos_bundle.errors import UserError
from conemos_bundle.files import PART, write_in_one_step
from conemos_bundle.names import MOST_REGIONS, SPLITS, RegionName, check_inside, same_file, told_apart
from conemos_bundle.utils.records import PathText, Strict, Text, one_line, read_as
from conemos_bundle.volumes import EXTENSIONS
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, ValidationError, model_validator

_SUFFIXES = re.compile(rf"(\.seg)?({'|'.join(map(re.escape, EXTENSIONS))})$", re.IGNORECASE)


class MaskSource(Strict):
    """Where the mask of one region of one scan lies, what of it is known, or that the region is absent.

    The mask is a binary file, ``values`` of a label map, a ``channel``, or a ``segment`` (by its name) of a
    ``.seg.nrrd``. Voxels with a value of ``ignore``, and those where the binary file ``known`` is 0, are ignored.
    ``absent``: the region is not there. A file given with it holds no voxel of the region, and may say with ``ignore``
    or ``known`` where that is known.
    """

    file: PathText | None = None
    values: list[int] | None = None
    channel: int | None = None
    segment: str | None = None
    ignore: Annotated[list[int] | None, BeforeValidator(lambda value: [value] if type(value) is int else value)] = None
    known: PathText | None = None
    absent: bool | None = None

    @model_validator(mode="after")
    def _consistent(self) -> MaskSource:
        parts = [name for name in ("values", "channel", "segment") if getattr(self, name) is not None]
        if len(parts) > 1:
            raise ValueError(f"give {parts[0]!r} or {parts[1]!r}, not both")
        if self.absent is False:
            raise ValueError("'absent' can only be true; leave the region out where it is unknown")
        if self.file is None:
            if not self.absent:
                raise ValueError("'file' is missing: name the mask, or write {\"absent\": true}")
            if others := [*parts, *(name for name in ("ignore", "known") if getattr(self, name) is not None)]:
                raise ValueError(f"{others[0]!r} without a 'file'")
        if self.values is not None and not self.values:
            raise ValueError("'values' is empty: leave the region out if it is not annotated")
        if self.channel is not None and self.channel < 0:
            raise ValueError("'channel' counts from 0")
        if self.segment is not None and not str(self.file).lower().endswith(".nrrd"):
            raise ValueError("'segment' is the name of a segment of a .seg.nrrd file")
        self._check_ignore()
        return self

    def _check_ignore(self) -> None:
        if self.ignore is None:
            return
        if not self.ignore:
            raise ValueError("'ignore' is empty: name a value, or leave it out")
        if self.segment is not None:
            raise ValueError("'ignore' is a value of a mask or label map; with a 'segment', give a file 'known'")
        if both := sorted(set(self.ignore) & set([1] if self.values is None else self.values)):
            raise ValueError(f"'ignore' names {both[0]}, which is the region itself")


# told apart by type, so that an error speaks of what the user wrote
Mask = Annotated[
    Annotated[PathText, Tag("str")] | Annotated[MaskSource, Tag("MaskSource")],
    Discriminator(lambda mask: "str" if isinstance(mask, str) else "MaskSource"),
]


def _subject(text: str) -> str:
    text = normalize("NFC", text).strip()  # macOS and a keyboard may write one name in different ways
    if not text or len(text) > 256 or not text.isprintable():
        raise ValueError(f"{text[:20]!r}: use 1 to 256 printable letters")
    return text


class Scan(Strict):
    """One scan: its image (several files: one per channel), its subject, and a mask for each annotated region."""

    image: PathText | Annotated[list[PathText], Field(max_length=256)]
    subject: Annotated[str, AfterValidator(_subject)]
    masks: dict[RegionName, Mask] = Field(default_factory=dict)

    def source(self, region: str) -> MaskSource:
        """The mask source of an annotated or absent region; raises `KeyError` where the region is unknown."""
        source = self.masks[region]
        return MaskSource(file=source) if isinstance(source, str) else source

    @property
    def absent(self) -> set[str]:
        """The regions known not to be there."""
        return {region for region, mask in self.masks.items() if isinstance(mask, MaskSource) and mask.absent}

    @property
    def annotated(self) -> set[str]:
        """The regions that are annotated and there."""
        return set(self.masks) - self.absent


def make_scan(image: str | list[str], subject: str, masks: dict[str, Any]) -> Scan:
    """A scan of files that were found.

    Raises:
        UserError: a name that a datalist cannot hold.
    """
    try:
        return Scan(image=image, subject=subject, masks=masks)
    except ValidationError as error:
        first = image if isinstance(image, str) else image[0]
        raise UserError(f"{first}: {one_line(error)}; rename it, or pass --subject") from error


class Datalist(Strict):
    """A data set: its regions (in channel and paint order, outer first) and its scans per split.

    ``inside`` may declare which region lies inside which other (``{"brain": "body"}``). ``dataset_dir`` is the folder
    that relative paths start at: absolute, or relative to the folder of the datalist's file; None: that folder.
    """

    name: Text = "data set"
    description: Text = ""
    modality: Text = ""
    license: Text = ""
    reference: Text = ""
    regions: Annotated[list[RegionName], Field(max_length=MOST_REGIONS)]
    inside: dict[RegionName, RegionName] = Field(default_factory=dict)
    dataset_dir: PathText | None = None
    training: list[Scan] = Field(default_factory=list)
    validation: list[Scan] = Field(default_factory=list)
    test: list[Scan] = Field(default_factory=list)

    @model_validator(mode="after")
    def _known_regions(self) -> Datalist:
        if not self.regions:
            raise ValueError("'regions' is empty: name at least one")
        if pair := same_file(self.regions):
            raise ValueError(f"'regions' {told_apart(pair)}")
        check_inside(self.inside, self.regions)
        for split in SPLITS:
            for index, scan in enumerate(self.scans(split)):
                unknown = sorted(set(scan.masks) - set(self.regions))
                if unknown:
                    raise ValueError(f"{split}[{index}] annotates {unknown[0]!r}, which 'regions' does not name")
        return self

    def scans(self, split: str) -> list[Scan]:
        """The scans of ``split``, one of ``training``, ``validation``, ``test``."""
        if split not in SPLITS:
            raise UserError(f"split {split!r}: use one of {', '.join(SPLITS)}")
        return list(getattr(self, split))


def read_datalist(path: str | os.PathLike[str] | None) -> Datalist:
    """Read and validate a datalist.

    Raises:
        UserError: the file is missing, is no JSON, or is no datalist; the line says which entry is wrong.
    """
    if path is None or not str(path):
        raise UserError("no datalist given: pass --datalist FILE ('conemos datalist' writes one)")
    return read_as(Datalist, path, " the datalist", "; 'conemos datalist' writes one")


def write_datalist(datalist: Datalist, path: str | os.PathLike[str]) -> None:
    """Write ``datalist`` as JSON, in one step: a reader never sees half of it.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(datalist.model_dump(exclude_none=True), indent=4) + "\n"
    write_in_one_step(path, lambda part: part.write_text(text, encoding="utf-8"))


def scans_folder(
    path: str | os.PathLike[str], datalist: Datalist, dataset_dir: str | os.PathLike[str] | None = None
) -> Path:
    """The folder that the paths of a datalist start at.

    Args:
        path: the datalist's file.
        datalist: what is in it.
        dataset_dir: what the user says, which counts more than what the file says.
    """
    if dataset_dir is not None:
        return Path(dataset_dir).expanduser().absolute()
    parent = Path(path).expanduser().absolute().parent
    if datalist.dataset_dir is not None:
        parent = parent.resolve() / datalist.dataset_dir  # `..` of a linked folder is not where the link stands
    return Path(os.path.abspath(parent))


def stored_folder(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> str | None:
    """What ``dataset_dir`` of a datalist at ``path`` is, whose paths start at ``root``.

    Relative where one of the two folders lies within the other, so that both can move together; None where they are
    the same; else absolute.
    """
    parent, folder = Path(path).absolute().parent.resolve(), Path(root).resolve()
    if parent == folder:
        return None
    together = folder.is_relative_to(parent) or parent.is_relative_to(folder)
    return Path(os.path.relpath(folder, parent)).as_posix() if together else str(folder)


def scan_name(image: str | Sequence[str]) -> str:
    """The name of a scan: its (first) file's name without folder and extension.

    Raises:
        UserError: nothing is left of it, or ``..``, which as a folder for results would lie outside of theirs, or it
            is a name of our own temporary folders.
    """
    if not image:
        raise UserError("a scan has no image file; name one, or one per channel")
    file = image if isinstance(image, str) else image[0]
    name = _SUFFIXES.sub("", Path(file).name)
    if not name.strip(". ") or name.startswith(PART):
        raise UserError(f"{file}: no scan can be called {name!r}; rename the file")
    return name


def scan_items(
    datalist: Datalist, split: str, dataset_dir: str | os.PathLike[str], needed: bool = False
) -> list[dict[str, Any]]:
    """The scans of ``split`` as MONAI data items with absolute paths.

    Args:
        datalist: the datalist.
        split: ``training``, ``validation`` or ``test``.
        dataset_dir: where relative paths start.
        needed: refuse a split without any annotated scan.

    Returns:
        one dictionary per scan with at least one annotated or absent region: ``image`` (path, or a list of paths),
        ``name`` (unique), ``subject``, and ``masks``, which maps each of these regions to the fields of its
        `MaskSource` that the datalist gives.

    Raises:
        UserError: the folder does not exist, the split is needed and empty, or two scans would get the same name.
    """
    root = Path(dataset_dir).expanduser().absolute()
    if not root.is_dir():
        raise UserError(
            f"{dataset_dir}: no such folder; pass --dataset_dir with the folder that the datalist's paths start at"
        )
    scans = [scan for scan in datalist.scans(split) if scan.masks]
    if needed and not scans:
        raise UserError(f"the datalist has no annotated scan in {split!r}: choose another --split")
    names = [scan_name(scan.image) for scan in scans]
    firsts = [scan.image if isinstance(scan.image, str) else scan.image[0] for scan in scans]
    # the same file name in several folders: name the folders too
    unique = [
        name if names.count(name) == 1 else _SUFFIXES.sub("", first).strip("/").replace("/", "_")
        for name, first in zip(names, firsts, strict=True)
    ]
    for name, first in zip(unique, firsts, strict=True):
        if unique.count(name) > 1:
            raise UserError(f"{first}: another scan would get the same name, {name!r}; rename one of the files")
    items = []
    for scan, name, first in zip(scans, unique, firsts, strict=True):
        image = str(root / first) if isinstance(scan.image, str) else [str(root / file) for file in scan.image]
        masks = {region: scan.source(region) for region in datalist.regions if region in scan.masks}
        fields = {region: source.model_dump(exclude_none=True) for region, source in masks.items()}
        for source in fields.values():
            source.update({key: str(root / source[key]) for key in ("file", "known") if key in source})
        items.append({"image": image, "name": name, "subject": scan.subject, "masks": fields})
    return items
