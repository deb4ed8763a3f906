"""What annotators submitted to the data store. It needs monailabel."""

from __future__ import annotations

import logging
from typing import Any

from conemos_bundle.errors import UserError
from conemos_bundle.hosts.label.annotations import drawn_names, known_relations, read_saved, regions_in
from conemos_bundle.hosts.label.options import FINAL
from conemos_bundle.hosts.label.served_model import ServedModel
from conemos_bundle.hosts.label.training_set import Saved
from conemos_bundle.names import region_name
from conemos_bundle.predictor import Segmentation
from conemos_bundle.volumes import read_geometry
from monailabel.datastore.local import LocalDatastore

logger = logging.getLogger(__name__)
_LOOKS = 5  # scans whose predictions tell how regions lie to each other


def submitted(datastore: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, file and information of each label that annotators submitted to this server.

    Over DICOMweb, MONAI Label lists the store's segmentations, with an answer two hours old, and finds their files by
    UIDs of their own. What was submitted here it keeps in its cache too, as in a folder, with the values' names.
    """
    names = [name for name in sorted(datastore.list_images()) if FINAL in datastore.get_labels_by_image_id(name)]
    folder = LocalDatastore if isinstance(datastore, LocalDatastore) else type(datastore)
    return [
        (name, str(folder.get_label_uri(datastore, name, FINAL)), datastore.get_label_info(name, FINAL))
        for name in names
    ]


def annotated_regions(served: ServedModel, datastore: Any) -> dict[str, list[str]]:
    """Of each scan, the regions that annotators submitted."""
    found: dict[str, list[str]] = {}
    for name, label, info in submitted(datastore):
        try:
            found[name] = regions_in(label, info, served.region_names)
        except UserError as error:
            logger.warning(f"left out: {error}")
    return found


def saved_annotations(served: ServedModel, datastore: Any) -> list[Saved]:
    """What annotators submitted, and the model's own masks of those scans.

    Files that cannot be used are left out, with a line in the log.
    """
    found: list[tuple[str, str, dict[str, Any], str, Segmentation]] = []
    for name, label, info in submitted(datastore):
        try:
            image = datastore.get_image_uri(name)
            found.append((label, image, info, name, served(image)))
        except UserError as error:
            logger.warning(f"left out: {error}")
    predictions = [dict(zip(segmented.regions, segmented.masks, strict=True)) for *_, segmented in found]
    known = known_relations(predictions[:_LOOKS], served.region_names, served.inside)
    saved = []
    for (label, image, info, name, segmented), predicted in zip(found, predictions, strict=True):
        try:
            masks = read_saved(label, info, served.region_names, known, segmented.masks.shape[1:], segmented.affine)
        except UserError as error:
            logger.warning(f"left out: {error}")
            continue
        logger.info(f"{name}: annotated: {', '.join(masks) or 'no region of this model'}")
        saved.append(Saved(name, image, segmented.affine, masks, predicted))
    return saved


def unknown_names(served: ServedModel, datastore: Any) -> list[str]:
    """Names that annotators submitted voxels of, and that the model does not know; upper and lower case are alike."""
    known, found = {region.lower() for region in served.region_names}, dict[str, str]()
    for _, label, info in submitted(datastore):
        try:
            names = drawn_names(label, info)
        except UserError as error:
            logger.warning(f"left out: {error}")
            continue
        for name in names:
            try:
                if name.lower() not in known:
                    found.setdefault(name.lower(), region_name(name))
            except ValueError as error:
                logger.warning(f"left out: {error}")
    return sorted(found.values())


def annotations_of(region: str, served: ServedModel, datastore: Any) -> list[Saved]:
    """What annotators submitted of a region that the model does not know; the masks are of that region alone.

    Files that cannot be used are left out, with a line in the log. In a label map, what another segment hides of it is
    not in its mask.
    """
    saved = []
    for name, label, info in submitted(datastore):
        try:
            if region.lower() not in [drawn.lower() for drawn in drawn_names(label, info)]:
                continue
            image = served.checked(datastore.get_image_uri(name))
            geometry = read_geometry(image)
            # where other organs are drawn, the new region is not, as a rule: that tells it from them
            masks = read_saved(label, info, [region], {}, geometry.shape, geometry.affine, ignore_others=False)
        except UserError as error:
            logger.warning(f"left out: {error}")
            continue
        if masks:
            saved.append(Saved(name, image, geometry.affine, masks, {}))
    return saved
