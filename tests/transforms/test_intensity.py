from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest
import torch
from conemos_bundle.transforms import ScalePercentilesd, intensity
from conemos_bundle.utils.paths import bundle_folder
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.transforms import Orientation, ScaleIntensityRangePercentilesd


@pytest.fixture(autouse=True)
def nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intensity, "_told", set())


def scaled(image: np.ndarray, **options: bool) -> torch.Tensor:
    tensor = MetaTensor(torch.from_numpy(image.astype(np.float32)), meta={"filename_or_obj": "s.nii.gz"})
    return ScalePercentilesd("image", **options)({"image": tensor})["image"]


def masked(fraction: float, background: float = 0.0, shape: tuple[int, ...] = (1, 30, 30, 30)) -> np.ndarray:
    """Intensities 100 to 200, but for ``fraction`` of the voxels, which are background."""
    random = np.random.default_rng(0)
    image = random.uniform(100, 200, shape)
    order = random.permutation(image.size)
    image.ravel()[order[: int(fraction * image.size)]] = background
    return image


@pytest.mark.parametrize("channel_wise", [True, False])
@pytest.mark.parametrize("shape", [(2, 12, 11, 10), (1, 101, 100, 100)])  # MONAI's percentiles change above 10^6 voxels
def test_ordinary_scans_are_scaled_as_by_monai_bit_by_bit(shape: tuple[int, ...], channel_wise: bool) -> None:
    image = np.random.default_rng(1).gamma(2, 50, shape) - 30
    image[:, : shape[1] // 2] = 0  # half of it background
    tensor = MetaTensor(torch.from_numpy(image.astype(np.float32)))
    monai = ScaleIntensityRangePercentilesd("image", 0.5, 99.5, 0.0, 1.0, clip=True, channel_wise=channel_wise)
    torch.testing.assert_close(
        ScalePercentilesd("image", channel_wise=channel_wise)({"image": tensor})["image"],
        monai({"image": tensor})["image"],
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("background", [0.0, -1024.0, 3000.0])
def test_nearly_all_background_percentiles_of_the_rest(background: float, caplog: pytest.LogCaptureFixture) -> None:
    image = masked(0.998, background)
    rest = image[image != background]
    low, high = np.percentile(rest, [0.5, 99.5])
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")  # MONAI's "Divide by zero"
        result = scaled(image)
        scaled(image)  # a line per file, not per look at it
    np.testing.assert_allclose(result.numpy(), np.clip((image - low) / (high - low), 0, 1), atol=1e-5)
    assert len(caplog.records) == 1
    assert caplog.messages[0].startswith("s.nii.gz: nearly all voxels are background")


def test_a_background_that_resampling_has_rounded_is_still_one_value() -> None:
    image = masked(0.998, -1024.0)
    noise = np.random.default_rng(2).uniform(-1e-4, 1e-4, image.shape)
    result = scaled(np.where(image == -1024, image + noise, image)).numpy()
    assert (result[image == -1024] == 0).all()
    assert np.ptp(result[image != -1024]) > 0.99


def test_only_the_channel_that_needs_it_is_scaled_otherwise() -> None:
    ordinary = np.random.default_rng(3).normal(10, 2, (1, 30, 30, 30))
    both = scaled(np.concatenate([ordinary, masked(0.999)]))
    torch.testing.assert_close(both[:1].as_tensor(), scaled(ordinary).as_tensor(), rtol=0, atol=0)
    assert float(both[1].max()) == 1.0


@pytest.mark.parametrize(
    ("rest", "expected"), [([7.0], [1.0]), ([7.0, 7.0, 7.0], [1.0] * 3), ([-5.0, 5.0], [0.0, 1.0])]
)
def test_a_few_voxels_that_are_not_background(rest: list[float], expected: list[float]) -> None:
    image = np.zeros((1, 20, 20, 20))
    image.ravel()[: len(rest)] = rest
    result = scaled(image).numpy().ravel()
    np.testing.assert_allclose(result[: len(rest)], expected, atol=1e-6)
    assert ((result >= 0) & (result <= 1)).all()


def test_what_inverting_needs_stays() -> None:
    image = MetaTensor(torch.rand(1, 6, 5, 4), affine=torch.diag(torch.tensor([2.0, 2, 2, 1])))
    turned = Orientation("LPS", labels=None)(image)
    result = ScalePercentilesd("image")({"image": turned})["image"]
    assert result.applied_operations == turned.applied_operations != []
    torch.testing.assert_close(result.affine, turned.affine)


def test_a_patch_of_background_alone_is_zero_and_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    patch = torch.full((1, 4, 4, 4), 1000.0)
    assert float(ScalePercentilesd("image")({"image": patch})["image"].abs().max()) == 0
    assert not caplog.records


@pytest.mark.parametrize(
    ("names", "key", "count"),
    [
        (["train"], "train::preprocessing", 1),
        (["train"], "validate::preprocessing", 1),
        (["train", "paper"], "train::preprocessing", 2),  # of the scan, and of the patch
        (["inference"], "preprocessing", 1),
    ],
)
def test_no_configuration_uses_monais(names: list[str], key: str, count: int) -> None:
    parser = ConfigParser()
    parser.read_config([str(bundle_folder() / "configs" / f"{name}.json") for name in names])
    if "train" in names:
        parser["regions"], parser["plan"] = ["a"], {"in_channels": 1, "spacing": [1, 1, 1], "patch_size": [8, 8, 8]}
    steps = parser.get_parsed_content(key).transforms
    assert sum(isinstance(step, ScalePercentilesd) for step in steps) == count
    assert not any(isinstance(step, ScaleIntensityRangePercentilesd) for step in steps)
