from __future__ import annotations

import itertools
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from conemos_bundle.errors import UserError
from conemos_bundle.transforms import OrientToRASd, ResampleToSpacingd
from conemos_bundle.transforms import resample as resample_module
from conemos_bundle.transforms.resample import closest_ras, resampled_size, scale_factors
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Invertd
from nibabel.processing import resample_from_to
from scipy.ndimage import center_of_mass
from scipy.spatial.transform import Rotation

BOTH = ["image", "label"]


def random_affine(seed: int, shear: float = 0.0) -> np.ndarray:
    """Oblique, anisotropic, perhaps mirrored and sheared."""
    random = np.random.default_rng(seed)
    affine = np.eye(4)
    turn = Rotation.from_rotvec(random.normal(size=3) * 0.2).as_matrix() @ (
        np.eye(3) + np.triu(random.normal(size=(3, 3)), 1) * shear
    )
    affine[:3, :3] = turn * random.uniform(0.5, 3, 3) * random.choice([-1, 1], 3)
    affine[:3, 3] = random.normal(size=3) * 50
    return affine


def noise(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((1, *shape)).astype(np.float32))


def resample(volume: torch.Tensor, affine: np.ndarray, spacing: list[float], mode: str = "bilinear") -> MetaTensor:
    item = {"image": MetaTensor(volume, affine=torch.from_numpy(affine))}
    result: MetaTensor = ResampleToSpacingd("image", spacing, mode)(item)["image"]
    return result


@pytest.mark.parametrize("seed", range(12))
def test_voxels_and_affine_are_those_of_nibabel(seed: int) -> None:
    affine, volume = random_affine(seed, shear=0.3 * (seed % 2)), noise((9, 8, 7), seed)
    result = resample(volume, affine, [1.1, 0.9, 1.4])
    new = result.affine.numpy()
    np.testing.assert_allclose(np.linalg.norm(new[:3, :3], axis=0), [1.1, 0.9, 1.4], rtol=1e-3)
    source = nibabel.Nifti1Image(volume[0].numpy(), affine)
    expected = resample_from_to(source, (result.shape[1:], new), order=1, mode="nearest").get_fdata()
    np.testing.assert_allclose(result[0].numpy(), expected, atol=1e-4)
    # the same directions, and the same center in mm
    old_center, new_center = (
        a @ [*((np.array(s) - 1) / 2), 1] for a, s in ((affine, volume.shape[1:]), (new, result.shape[1:]))
    )
    np.testing.assert_allclose(new_center, old_center, atol=1e-9)
    directions = [a[:3, :3] / np.linalg.norm(a[:3, :3], axis=0) for a in (affine, new)]
    np.testing.assert_allclose(*directions, atol=1e-12)


def test_a_mask_takes_the_nearest_voxel() -> None:
    mask = (noise((11, 9, 7)) > 0.7).float()
    result = resample(mask, np.diag([1.3, 0.7, 2.2, 1]), [1, 1, 1], "nearest")
    factors = scale_factors(np.diag([1.3, 0.7, 2.2, 1]), [1, 1, 1])
    index = [
        np.clip(np.rint((n - 1) / 2 + (np.arange(m) - (m - 1) / 2) / f), 0, n - 1).astype(int)
        for n, m, f in zip((11, 9, 7), result.shape[1:], factors, strict=True)
    ]
    np.testing.assert_array_equal(result[0].numpy(), mask[0].numpy()[np.ix_(*index)])
    assert set(np.unique(result.numpy())) == {0, 1}


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1.0000001, 0.9999999, 1.0004)])
def test_the_spacing_asked_for_leaves_the_voxels_as_they_are(spacing: tuple[float, ...]) -> None:
    volume, affine = noise((5, 6, 7)), np.diag([*spacing, 1])
    item = {"image": MetaTensor(volume, affine=affine), "label": MetaTensor((volume > 0.5).byte(), affine=affine)}
    result = ResampleToSpacingd(BOTH, [1, 1, 1], ["bilinear", "nearest"])(item)
    assert torch.equal(result["image"].as_tensor(), volume)
    assert torch.equal(result["label"].as_tensor(), (volume > 0.5).float())
    np.testing.assert_allclose(result["image"].affine.numpy(), affine, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "spacing", "asked", "expected"),
    [
        ((64, 64, 30), (0.8, 0.8, 1.2), (1, 1, 1), [51, 51, 36]),
        ((5, 4, 3), (1, 1, 1), (2, 2, 2), [3, 2, 2]),  # halves up
        ((3, 3, 3), (0.01, 1, 1), (1, 1, 1), [1, 3, 3]),
        ((256, 256, 36), (1.5, 1.5, 9), (1.5, 1.5, 9.0004), [256, 256, 36]),
    ],
)
def test_size(size: Any, spacing: Any, asked: Any, expected: list[int]) -> None:
    assert resampled_size(size, scale_factors(np.diag([*spacing, 1]), asked)) == expected


def test_last_digits_and_places_do_not_matter() -> None:
    """As float32, as text of 7 digits, moved by a micrometer or a meter, turned: bit for bit the same."""
    volume, random = noise((12, 11, 10)), np.random.default_rng(0)
    for spacing in ((0.8, 0.8, 1.2), (0.78125, 0.859375, 3.3), (0.5, 2, 3), (0.46875, 0.46875, 5)):
        affine = np.diag([*spacing, 1.0])
        expected = resample(volume, affine, [1, 1, 1])
        for _ in range(25):
            moved = np.eye(4)
            moved[:3, :3] = Rotation.from_rotvec(random.normal(size=3)).as_matrix()
            moved[:3, 3] = random.normal(size=3) * 10 ** random.uniform(-6, 3)
            exact = moved @ affine
            short = np.array([float(f"{x:.7g}") for x in exact.flat]).reshape(4, 4)
            for variant in (exact, exact.astype(np.float32).astype(np.float64), short):
                assert torch.equal(resample(volume, variant, [1, 1, 1]).as_tensor(), expected.as_tensor())


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 9), (0.8, 1.1, 2.6), (2, 3, 1), (0.5, 0.5, 0.5)])
@pytest.mark.parametrize("extent", [(60, 62, 90), (61, 57, 99)])
def test_nothing_shifts_there_or_back(spacing: tuple[float, ...], extent: tuple[int, ...]) -> None:
    """A smooth bump keeps its place in mm on the new grid, and its values after the way back."""
    size = [round(mm / s) for mm, s in zip(extent, spacing, strict=True)]
    affine = np.diag([*spacing, 1.0])
    where = np.array(extent) * [0.47, 0.55, 0.51]
    mm = np.moveaxis(np.indices(size), 0, -1) * spacing
    bump = np.exp(-(((mm - where) / [10, 10, 15]) ** 2).sum(-1) / 2).astype(np.float32)
    transform = Compose([OrientToRASd("image"), ResampleToSpacingd("image", [1, 1, 2])])
    item = transform({"image": MetaTensor(torch.from_numpy(bump[None]), affine=affine)})
    there = item["image"]
    found = there.affine.numpy() @ [*center_of_mass(there[0].numpy()), 1]
    np.testing.assert_allclose(found[:3], center_of_mass(bump) * np.array(spacing), atol=0.03)  # mm
    back = transform.inverse(item)["image"]
    assert back.shape == (1, *size)
    np.testing.assert_allclose(back[0].numpy(), bump, atol=0.05)
    np.testing.assert_allclose(center_of_mass(back[0].numpy()), center_of_mass(bump), atol=0.01)  # voxels
    assert torch.equal(back.affine, torch.from_numpy(affine))


def test_inverted_behind_a_data_loader() -> None:
    """As inference.json inverts predictions, and evaluate.json the image."""
    preparation = Compose([OrientToRASd(BOTH), ResampleToSpacingd(BOTH, [1, 1, 1], ["bilinear", "nearest"])])
    affine = random_affine(3)[:, [2, 0, 1, 3]]
    volume = torch.ones(1, 9, 8, 7)
    volume[:, :4] = 0
    items = [{name: MetaTensor(volume, affine=affine, meta={"filename_or_obj": "a"}) for name in BOTH}] * 2
    loader: Any = DataLoader(Dataset(items, preparation), batch_size=2)
    batch = next(iter(loader))
    batch["pred"] = torch.cat([batch["image"], 1 - batch["image"]], dim=1)
    inversion = Compose([Invertd("pred", preparation, "image", nearest_interp=False), Invertd("image", preparation)])
    for item in decollate_batch(batch):
        done = inversion(item)
        assert done["pred"].shape == (2, 9, 8, 7) and done["image"].shape == (1, 9, 8, 7)
        assert torch.equal(done["pred"].affine, torch.from_numpy(affine))
        assert torch.equal(done["image"].affine, torch.from_numpy(affine))
        assert torch.equal(done["pred"][0].as_tensor() > 0.5, volume[0] > 0.5)
        assert len(np.unique(done["pred"].numpy())) > 2  # not nearest
        assert set(np.unique(done["image"].numpy().round(4))) >= {0, 1}
        assert not done["pred"].applied_operations


def variants(volume: np.ndarray, affine: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """One scan in each of the 48 orders and directions of its axes."""
    image, found = nibabel.Nifti1Image(volume, affine), []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            turned = image.as_reoriented(np.array(list(zip(axes, signs, strict=True))))
            found.append((np.asarray(turned.dataobj), turned.affine))
    return found


@pytest.mark.parametrize("seed", range(6))
def test_orientation_is_nibabels(seed: int) -> None:
    affine, volume = (random_affine(seed)[:, [*np.random.default_rng(seed).permutation(3), 3]], noise((4, 5, 6)))
    expected = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume[0].numpy(), affine))
    orient = OrientToRASd("image")
    item = orient({"image": MetaTensor(volume, affine=affine)})
    np.testing.assert_array_equal(item["image"][0].numpy(), expected.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(item["image"].affine.numpy(), expected.affine, atol=1e-12)
    back = orient.inverse(item)["image"]
    assert torch.equal(back.as_tensor(), volume) and torch.equal(back.affine, torch.from_numpy(affine))


def test_an_affine_in_lps_is_oriented_alike() -> None:
    volume, affine = noise((4, 5, 6)), random_affine(1)
    results = [
        OrientToRASd("image")({"image": MetaTensor(volume, affine=a, meta={"space": space})})["image"]
        for a, space in ((affine, "RAS"), (np.diag([-1, -1, 1, 1]) @ affine, "LPS"))
    ]
    assert torch.equal(results[0].as_tensor(), results[1].as_tensor())
    np.testing.assert_allclose(results[1].affine.numpy(), np.diag([-1, -1, 1, 1]) @ results[0].affine.numpy())


ROUND_ANGLES = [a for a in itertools.product((0, 30, 45, 60, 90, 135), repeat=3) if 45 in a or 135 in a or 60 in a][::7]


@pytest.mark.parametrize("angles", ROUND_ANGLES)
def test_halfway_between_axes_last_digits_do_not_choose(angles: tuple[int, ...]) -> None:
    """At 45 degrees and the like nibabel's choice hangs on rounding, and on the order of the axes."""
    random = np.random.default_rng(0)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * [0.8, 1, 1.2]
    volume = random.random((2, 3, 4)).astype(np.float32)
    expected = nibabel.Nifti1Image(volume, affine).as_reoriented(closest_ras(affine)).get_fdata(dtype=np.float32)
    for voxels, turned in variants(volume, affine):
        noisy = turned + random.normal(size=(4, 4)) * 1e-6
        oriented = OrientToRASd("image")({"image": MetaTensor(torch.from_numpy(voxels[None].copy()), affine=noisy)})
        np.testing.assert_array_equal(oriented["image"][0].numpy(), expected)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((1000, 1000, 1000), r"a\.nii: voxels of 1000 x 1000 x 1000 mm, resampled to 1 x 1 x 1 mm, take .* GiB"),
        ((1e30, 1, 1), r"a\.nii: .* take .* GiB"),
        ((0, 1, 1), r"a\.nii: voxels of 0 x 1 x 1 mm cannot be resampled"),
        ((np.nan, 1, 1), r"a\.nii: voxels of nan x 1 x 1 mm cannot be resampled"),
        ((np.inf, 1, 1), r"a\.nii: voxels of inf x 1 x 1 mm cannot be resampled"),
    ],
)
def test_what_cannot_be_resampled_is_refused(spacing: tuple[float, ...], words: str) -> None:
    image = MetaTensor(noise((9, 9, 9)), affine=np.diag([*spacing, 1]), meta={"filename_or_obj": "a.nii"})
    with pytest.raises(UserError, match=words):
        ResampleToSpacingd("image", [1, 1, 1])({"image": image})


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("shape", [(23, 9, 8), (40, 1, 3), (2, 6, 7), (64, 5, 4)])
@pytest.mark.parametrize("factors", [(0.317, 1.713, 0.8), (2.87, 0.41, 1.0), (0.163, 1.31, 1.1), (1.053, 1.0, 1.0)])
def test_slabs_are_the_whole(
    shape: tuple[int, int, int], factors: tuple[float, ...], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, size = torch.cat([noise(shape), noise(shape, 1)]), resampled_size(shape, factors)
    whole, sampled, largest = resample_module.sample(volume, size, factors, mode), resample_module._sampled, []

    def noted(part: torch.Tensor, matrix: np.ndarray, size: list[int], mode: str) -> torch.Tensor:
        largest.append(size[0])
        return sampled(part, matrix, size, mode)

    monkeypatch.setattr(resample_module, "_sampled", noted)
    for planes in (1, 3):
        largest.clear()
        monkeypatch.setattr(resample_module, "VOXELS_AT_ONCE", planes * 2 * size[1] * size[2])
        torch.testing.assert_close(resample_module.sample(volume, size, factors, mode), whole, rtol=1e-6, atol=1e-6)
        assert max(largest) <= planes and sum(largest) == size[0]
