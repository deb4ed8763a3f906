from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conemos_bundle.transforms import RandDeformd
from conemos_bundle.transforms.spatial import deform
from conemos_bundle.utils.known import IGNORED
from monai.transforms.utils import create_rotate, create_scale
from scipy.ndimage import affine_transform

EVERYTHING = {"rotation": [0.4, 0.3, 0.5], "scaling": 0.2, "shearing": 0.05, "translation": 2.0, "elastic_std": 2.0}


def random_volume(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def matrix(translation: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = translation
    return matrix


@pytest.mark.parametrize("shape", [(7, 7, 7), (6, 9, 5), (4, 6, 8)])
def test_identity(shape: tuple[int, int, int]) -> None:
    volume = random_volume(2, *shape)
    torch.testing.assert_close(deform(volume, shape, np.eye(4)), volume, rtol=0, atol=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("by", [-3, 2])
def test_integer_translation_along_each_axis(axis: int, by: int) -> None:
    shape = (6, 9, 8)
    volume, translation = random_volume(1, *shape), [0, 0, 0]
    translation[axis] = by
    moved = deform(volume, shape, matrix(tuple(translation)))
    expected = np.roll(volume.numpy(), -by, axis=axis + 1)
    outside = [slice(None)] * 4
    outside[axis + 1] = slice(shape[axis] - by, None) if by > 0 else slice(None, -by)
    expected[tuple(outside)] = 0  # zeros from beyond the volume, not what wraps around
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (2, 0)), (2, (0, 1))])
def test_rotation_of_a_cube_by_90_degrees(axis: int, plane: tuple[int, int]) -> None:
    volume = random_volume(1, 7, 7, 7)
    angles = [0.0, 0.0, 0.0]
    angles[axis] = math.pi / 2
    rotated = deform(volume, (7, 7, 7), create_rotate(3, angles))
    # a patch that samples at R x shows the volume turned by the inverse of R
    expected = np.rot90(volume[0].numpy(), k=-1, axes=plane)
    np.testing.assert_allclose(rotated[0], expected, rtol=0, atol=1e-5)


def test_any_matrix_is_that_of_scipy() -> None:
    volume, size = random_volume(1, 9, 12, 10), (6, 8, 7)
    affine = matrix((0.4, -1.2, 0.7)) @ create_rotate(3, [0.3, -0.2, 0.5]) @ create_scale(3, [0.8, 1.1, 0.9])
    center_in, center_out = (np.array(shape[-3:], dtype=float) / 2 - 0.5 for shape in (volume.shape, size))
    linear = affine[:3, :3]
    expected = affine_transform(
        volume[0].double().numpy(), linear, affine[:3, 3] + center_in - linear @ center_out, output_shape=size, order=1
    )
    result = deform(volume, size, affine)[0].numpy()
    inside = expected > 0  # scipy cuts at the last voxel, PyTorch fades over one voxel more
    assert inside.mean() > 0.9
    np.testing.assert_allclose(result[inside], expected[inside], rtol=0, atol=1e-4)


@pytest.mark.parametrize("nodes", [(2, 2, 2), (3, 4, 2)])
def test_a_constant_displacement_is_a_translation(nodes: tuple[int, int, int]) -> None:
    volume, shift = random_volume(1, 8, 9, 7), (1.0, -2.0, 0.5)
    field = torch.tensor(shift).view(3, 1, 1, 1).expand(3, *nodes)
    by_field = deform(volume, (8, 9, 7), np.eye(4), field)
    torch.testing.assert_close(by_field, deform(volume, (8, 9, 7), matrix(shift)), rtol=0, atol=1e-5)
    assert (by_field - volume).abs().max() > 0.1


def test_a_displacement_is_interpolated_between_its_nodes() -> None:
    """A field that grows linearly along an axis stretches the volume along it."""
    ramp = torch.arange(9.0).view(1, 9, 1, 1).expand(1, 9, 9, 9)
    field = torch.zeros(3, 2, 2, 2)
    field[0, 0], field[0, 1] = 2.0, -2.0  # at x the volume's coordinate x + 2 - x / 2
    expected = 2 + torch.arange(9.0) / 2
    torch.testing.assert_close(deform(ramp, (9, 9, 9), np.eye(4), field)[0, :, 4, 4], expected, rtol=0, atol=1e-4)


def test_a_smaller_volume_is_centered_and_padded_with_zeros() -> None:
    volume = random_volume(2, 4, 5, 6) + 1
    transform = RandDeformd("image", (8, 9, 6), prob=0)
    patch = transform({"image": volume})["image"]
    assert patch.shape == (2, 8, 9, 6)
    torch.testing.assert_close(patch[:, 2:6, 2:7], volume, rtol=0, atol=1e-5)
    assert patch.sum().item() == pytest.approx(volume.sum().item(), rel=1e-4)  # nothing but zeros around it


def test_the_center_of_a_larger_volume_is_cut_out() -> None:
    volume = random_volume(1, 10, 9, 8)
    patch = RandDeformd("image", (4, 5, 8), prob=0)({"image": volume})["image"]
    torch.testing.assert_close(patch, volume[:, 3:7, 2:7], rtol=0, atol=1e-5)


def test_masks_stay_binary_and_move_with_the_image() -> None:
    ball = (torch.cartesian_prod(*[torch.arange(16.0) - 7.5] * 3).norm(dim=1) < 5).view(1, 16, 16, 16)
    transform = RandDeformd(["image", "label"], (16, 16, 16), prob=1, **EVERYTHING)
    transform.set_random_state(seed=3)
    for _ in range(3):
        item = transform({"image": ball.float(), "label": torch.cat([ball, ~ball]).to(torch.uint8)})
        assert item["label"].shape == (2, 16, 16, 16)
        assert item["label"].unique().tolist() == [0, 1]
        assert torch.equal(item["label"][:1], (item["image"] > 0.5).float())
        assert item["image"].unique().numel() > 2  # the image itself is interpolated
        assert not torch.equal(item["label"][:1], ball.float())


def test_the_seed_decides_the_deformation() -> None:
    volume = random_volume(1, 12, 12, 12)
    transform = RandDeformd("image", (12, 12, 12), prob=0.9, **EVERYTHING)

    def draw(seed: int) -> torch.Tensor:
        transform.set_random_state(seed=seed)
        return transform({"image": volume})["image"]

    first, second = draw(1), draw(2)
    assert not torch.equal(first, second)
    assert torch.equal(draw(1), first)
    assert torch.equal(draw(2), second)


def test_the_random_parameters_keep_to_their_ranges() -> None:
    transform = RandDeformd("image", (40, 40, 20), prob=1, elastic_grid=20, **{**EVERYTHING, "elastic_std": 0.5})
    transform.set_random_state(seed=0)
    shifts, volumes = [], []
    for _ in range(300):
        transform.randomize()
        shifts.append(np.abs(transform.matrix[:3, 3]).max())
        volumes.append(np.linalg.det(transform.matrix[:3, :3]))
        assert transform.displacement is not None
        assert transform.displacement.shape == (3, 3, 3, 2)
    assert 1.9 < max(shifts) <= 2
    assert 0.8**3 * 0.95 < min(volumes) < 0.7
    assert 1.35 < max(volumes) < 1.2**3 * 1.05


def test_each_rotation_is_about_its_own_axis() -> None:
    transform = RandDeformd("image", (8, 8, 8), prob=1, rotation=[0.0, 0.0, 1.0])
    transform.set_random_state(seed=0)
    angles = []
    for _ in range(50):
        transform.randomize()
        np.testing.assert_allclose(transform.matrix[2], [0, 0, 1, 0], atol=1e-12)
        angles.append(math.atan2(transform.matrix[1, 0], transform.matrix[0, 0]))
    assert -1 <= min(angles) < -0.8
    assert 0.8 < max(angles) <= 1


def test_prob_is_how_often_it_deforms() -> None:
    transform = RandDeformd("image", (8, 8, 8), prob=0.3, **EVERYTHING)
    transform.set_random_state(seed=0)
    deformed = 0
    for _ in range(500):
        transform.randomize()
        still = np.array_equal(transform.matrix, np.eye(4)) and transform.displacement is None
        deformed += not still
    assert deformed / 500 == pytest.approx(0.3, abs=0.06)


def sparse(kind: str, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A mask of three balls, and the same with most of it ignored: all but each sixth slice, a block, or noise."""
    random = np.random.default_rng(seed)
    grid = torch.from_numpy(np.indices((18, 20, 22))).float()
    mask = torch.zeros(18, 20, 22)
    for _ in range(3):
        center = torch.from_numpy(random.uniform(4, 16, 3)).float().view(3, 1, 1, 1)
        mask[(grid - center).norm(dim=0) < random.uniform(2, 7)] = 1
    known = torch.zeros_like(mask, dtype=torch.bool)
    if kind == "slices":
        known[:, :, seed % 6 :: 6] = True
    elif kind == "block":
        known[2:15, 5:, :17] = True
    else:
        known[torch.from_numpy(random.random(mask.shape) < 0.7)] = True
    return mask, mask.masked_fill(~known, float(IGNORED)).to(torch.uint8)


@pytest.mark.parametrize("kind", ["slices", "block", "noise"])
def test_no_deformation_makes_a_known_voxel_wrong(kind: str) -> None:
    """What is known in the patch is what the deformed whole mask holds there; voxels stay known, inside and outside."""
    wrong = known_inside = known_outside = 0
    for seed in range(40):
        mask, partly = sparse(kind, seed)
        whole = torch.stack([mask, 1 - mask])
        patches = {}
        for name, label in {"whole": whole, "partly": torch.stack([partly, 1 - mask.to(torch.uint8)])}.items():
            transform = RandDeformd(["image", "label"], (16, 24, 17), prob=0.9, **EVERYTHING)
            transform.set_random_state(seed=seed)
            patches[name] = transform({"image": mask[None], "label": label})
        image, label = patches["partly"]["image"], patches["partly"]["label"]
        assert torch.equal(image, patches["whole"]["image"])
        assert image.isfinite().all() and image.max() < 1.001  # nothing of the code for ignored
        assert set(label.unique().tolist()) <= {0, 1, IGNORED}
        assert torch.equal(label[1], patches["whole"]["label"][1])  # a mask known everywhere is as ever
        known = label[0] != IGNORED
        wrong += int((label[0] != patches["whole"]["label"][0])[known].sum())
        known_inside += int((label[0] == 1).sum())
        known_outside += int((label[0] == 0).sum())
    assert wrong == 0
    assert known_inside > 2000 and known_outside > 2000


def test_about_one_of_six_voxels_stays_known_of_each_sixth_slice() -> None:
    """Interpolation between a known and an ignored slice does not use up the known one."""
    transform = RandDeformd(["image", "label"], (18, 20, 22), prob=1, rotation=[0.25] * 3, elastic_std=1)
    parts = []
    for seed in range(20):
        _, partly = sparse("slices", seed)
        transform.set_random_state(seed=seed)
        label = transform({"image": partly[None].float(), "label": partly[None]})["label"][:, 4:-4, 4:-4, 4:-4]
        parts.append(float((label != IGNORED).float().mean()))
    assert 0.11 < np.mean(parts) < 0.18


def test_beyond_the_scan_a_mask_with_ignored_voxels_is_ignored() -> None:
    label = torch.zeros(2, 4, 4, 4, dtype=torch.uint8)
    label[0, 0, 0, 0] = IGNORED
    patch = RandDeformd(["image", "label"], (8, 8, 8), prob=0)({"image": label.float(), "label": label})["label"]
    assert not patch[1].any()
    assert int((patch[0] == 0).sum()) == 4**3 - 1
    assert int((patch[0] == IGNORED).sum()) == 8**3 - 4**3 + 1


def test_an_item_may_say_how_large_its_patch_is() -> None:
    transform = RandDeformd(["image", "label"], [8, 8, 8], prob=1, elastic_std=2, elastic_grid=4)
    image, label = torch.rand(1, 20, 20, 20), torch.ones(2, 20, 20, 20)
    for size in ([12, 8, 16], [8, 8, 8]):
        patch = transform({"image": image, "label": label, "patch_size": size})
        assert list(patch["image"].shape[1:]) == list(patch["label"].shape[1:]) == size
