"""From a scan's grid to the network's and back, whatever the last digits of the scan's affine.

MONAI's `Spacing` begins its grid at the corner that a comparison of floats picks, so that a scan moved by a micrometer,
or saved in another format, is sampled at other places. Here the grid is centered on the scan, and sampling happens
between voxel indices: where a scan lies, and how it is turned, never enters the voxels' arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms.checks import file_name
from conemos_bundle.volumes.geometry import memory_of_machine
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, SpatialResample
from monai.transforms.spatial.functional import orientation
from monai.utils import MetaKeys, SpaceKeys, TraceKeys, ensure_tuple_rep
from scipy.spatial.transform import Rotation

# spacings are told apart to a thousandth: formats keep 6 or 7 digits of an affine
RESOLUTION = 1e-3
# of the result, that are sampled at once: with the grid in float64 they take 70 bytes each
VOXELS_AT_ONCE = 2**22
# axes halfway between two directions (45 degrees) would be assigned by the affine's last digits: this turn, far larger
# than rounding, moves the border between directions away from angles that scans are at
_BORDER = Rotation.from_rotvec([0.037, 0.043, 0.051], degrees=True).as_matrix()
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def closest_ras(affine: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The orientation (as nibabel's `io_orientation`: axis and sign per voxel axis) to the closest of R, A and S.

    The same for affines that differ by rounding, and, of one scan, for each order and direction of its axes.

    Args:
        affine: 4×4, voxels to mm in RAS.
    """
    turned = np.asarray(affine, np.float64).copy()
    turned[:3, :3] = _BORDER @ turned[:3, :3]
    found: npt.NDArray[np.float64] = nibabel.orientations.io_orientation(turned)
    return found


def scale_factors(affine: npt.NDArray[Any], spacing: Sequence[float]) -> npt.NDArray[np.float64]:
    """How many voxels of ``spacing`` replace one voxel, per axis; to a thousandth, exactly 1 where that is nothing.

    Steps are even on a logarithmic scale. On a decimal one, spacings that scanners have (0.78125 mm = 200 mm / 256) lie
    at the border of two steps, where the last digit decides.

    Args:
        affine: 4×4, voxels to mm.
        spacing: in mm, per axis.
    """
    ratio = np.linalg.norm(np.asarray(affine, np.float64)[:3, :3], axis=0) / np.asarray(spacing, np.float64)
    factors: npt.NDArray[np.float64] = np.exp(RESOLUTION * np.round(np.log(ratio) / RESOLUTION))
    return factors


def resampled_size(size: Sequence[int], factors: Sequence[float] | npt.NDArray[np.float64]) -> list[int]:
    """Voxels per axis of the grid that covers ``size`` voxels best; at least 1, halves round up."""
    return [max(1, math.floor(n * factor + 0.5)) for n, factor in zip(size, factors, strict=True)]


def sample(
    volume: torch.Tensor, size: Sequence[int], factors: Sequence[float] | npt.NDArray[np.float64], mode: str
) -> torch.Tensor:
    """Sample a volume on a finer or coarser grid with the same center; the border goes on outside.

    Args:
        volume: ``(C, D, H, W)``.
        size: voxels of the result, per axis.
        factors: voxels of the result per voxel of ``volume``, per axis.
        mode: ``bilinear`` (trilinear, that is) or ``nearest``.

    Returns:
        ``(C, *size)`` float32.
    """
    volume = torch.as_tensor(volume.as_tensor() if isinstance(volume, MetaTensor) else volume)
    matrix = _grid(tuple(volume.shape[1:]), size, factors)
    thickness = max(1, VOXELS_AT_ONCE // (math.prod(size[1:]) * len(volume)))
    if thickness >= size[0]:
        return _sampled(volume, matrix, size, mode)
    sampled = torch.empty(len(volume), *size)
    for start in range(0, size[0], thickness):
        stop = min(start + thickness, size[0])
        sampled[:, start:stop] = _slab(volume, matrix, start, [stop - start, *size[1:]], mode)
    return sampled


def _slab(
    volume: torch.Tensor, matrix: npt.NDArray[np.float64], start: int, size: Sequence[int], mode: str
) -> torch.Tensor:
    """The planes of `sample` from ``start`` on, from the planes of ``volume`` that they lie among."""
    matrix, last = matrix.copy(), volume.shape[1] - 1
    first, end = (matrix[0, 0] * plane + matrix[0, 3] for plane in (start, start + size[0] - 1))
    low = min(max(math.floor(first) - 1, 0), last)  # a plane more than needed: of those at the border, none is missed
    high = max(min(math.ceil(end) + 1, last), low)
    matrix[0, 3] += matrix[0, 0] * start - low
    return _sampled(volume[:, low : high + 1], matrix, size, mode)


def _sampled(volume: torch.Tensor, matrix: npt.NDArray[np.float64], size: Sequence[int], mode: str) -> torch.Tensor:
    sampled = SpatialResample(mode, "border")(volume.contiguous(), torch.from_numpy(matrix), list(size))
    return sampled.as_tensor() if isinstance(sampled, MetaTensor) else sampled


def _grid(
    source: Sequence[int], size: Sequence[int], factors: Sequence[float] | npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """4×4: indices of the result to indices of the source; center to center."""
    matrix = np.diag([*(1 / np.asarray(factors)), 1.0])
    matrix[:3, 3] = (np.asarray(source) - 1) / 2 - (np.asarray(size) - 1) / 2 / np.asarray(factors)
    return matrix


class OrientToRASd(MapTransform, InvertibleTransform):
    """Permute and mirror the axes to the closest of RAS; MONAI's `Orientationd`, stable at 45 degrees.

    Each key is a `MetaTensor` ``(C, D, H, W)``. The inverse gives back the order of voxels and the affine that were.

    Args:
        keys: image and masks.
        allow_missing_keys: do not mind where one is absent.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Orient them."""
        item = dict(data)
        for key in self.key_iterator(item):
            affine = item[key].affine.numpy().astype(np.float64)
            in_lps = SpaceKeys(item[key].meta.get(MetaKeys.SPACE, SpaceKeys.RAS)) == SpaceKeys.LPS
            found = closest_ras(_LPS_TO_RAS @ affine if in_lps else affine)
            told = self.get_transform_info()  # MONAI changes the array that it is given
            item[key] = orientation(item[key], torch.from_numpy(affine), found.copy(), lazy=False, transform_info=told)
            item[key].applied_operations[-1][TraceKeys.EXTRA_INFO]["orientation"] = found.tolist()
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Undo it."""
        item = dict(data)
        for key in self.key_iterator(item):
            told = self.pop_transform(item[key])[TraceKeys.EXTRA_INFO]
            back = nibabel.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], told["orientation"])
            item[key] = orientation(item[key], None, back, lazy=False, transform_info=None)
            item[key].affine = told["original_affine"]
        return item


class ResampleToSpacingd(MapTransform, InvertibleTransform):
    """Resample to a voxel spacing, on a grid centered on the scan; the axes' directions are kept, oblique or sheared.

    A spacing that is asked for to a thousandth leaves the voxels as they are. The result is float32, and does not
    depend on the affine's last digits, nor on where the scan lies. The inverse gives back the scan's own grid.

    Args:
        keys: image and masks, each a `MetaTensor` ``(C, D, H, W)``.
        pixdim: the spacing, three numbers in mm, reached to a thousandth.
        mode: ``bilinear`` or ``nearest``, one for all keys or one each.
        allow_missing_keys: do not mind where a key is absent.

    Raises:
        UserError: the spacing of a scan is no spacing, or the resampled scan does not fit in memory.
    """

    def __init__(
        self,
        keys: KeysCollection,
        pixdim: Sequence[float],
        mode: str | Sequence[str] = "bilinear",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.pixdim = [float(spacing) for spacing in pixdim]
        self.mode = ensure_tuple_rep(mode, len(self.keys))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample them."""
        item = dict(data)
        for key, mode in self.key_iterator(item, self.mode):
            volume: MetaTensor = item[key]
            factors, size = self._target(volume, file_name(item, key))
            source = tuple(volume.shape[1:])
            told = self.track_transform_meta(
                volume,
                sp_size=size,
                affine=torch.from_numpy(_grid(source, size, factors)),
                extra_info={"mode": mode, "factors": factors.tolist(), "original_affine": volume.affine.clone()},
                orig_size=source,
                transform_info=self.get_transform_info(),
            )
            same = bool((factors == 1).all())
            voxels = volume.as_tensor().float() if same else sample(volume.as_tensor(), size, factors, mode)
            item[key] = MetaTensor(voxels).copy_meta_from(told)
        return item

    def _target(self, volume: MetaTensor, name: str) -> tuple[npt.NDArray[np.float64], list[int]]:
        affine = volume.affine.numpy()
        with np.errstate(all="ignore"):
            factors = scale_factors(affine, self.pixdim)
        spacing = " x ".join(f"{length:g}" for length in np.linalg.norm(affine[:3, :3], axis=0))
        if not (np.isfinite(factors) & (factors > 0)).all():
            raise UserError(f"{name}: voxels of {spacing} mm cannot be resampled; mend its spacing")
        # in float32: the result, what it is scaled to, and the logits of a region
        needed = math.prod(float(n) * factor for n, factor in zip(volume.shape[1:], factors, strict=True))
        needed *= 8 * volume.shape[0] + 12
        if needed > memory_of_machine():
            asked = " x ".join(f"{length:g}" for length in self.pixdim)
            raise UserError(
                f"{name}: voxels of {spacing} mm, resampled to {asked} mm, take {needed / 2**30:.3g} GiB, more than "
                "this machine has; look whether the spacing is right"
            )
        return factors, resampled_size(tuple(volume.shape[1:]), factors)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Back to the scans' own grids."""
        item = dict(data)
        for key in self.key_iterator(item):
            transform = self.pop_transform(item[key])
            told = transform[TraceKeys.EXTRA_INFO]
            volume: MetaTensor = item[key]
            factors = 1 / np.asarray(told["factors"])
            if (factors != 1).any():
                voxels = sample(volume.as_tensor(), transform[TraceKeys.ORIG_SIZE], factors, told["mode"])
                item[key] = MetaTensor(voxels).copy_meta_from(volume)
            item[key].affine = told["original_affine"]
        return item
