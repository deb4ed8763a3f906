from __future__ import annotations

import math

import pytest
import torch
from conemos_bundle.metrics.dice import dice
from conemos_bundle.metrics.region_metrics import FalsePositiveVolume, RegionDice
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.handlers import IgniteMetricHandler, from_engine

NAN = math.nan


def _scan(*regions: tuple[int, int] | None) -> tuple[torch.Tensor, torch.Tensor]:
    """A prediction and a label (K, 1, 1, 10): 4 voxels in the reference, (shared, extra) predicted; None: unknown."""
    prediction, label = torch.zeros(len(regions), 1, 1, 10), torch.zeros(len(regions), 1, 1, 10)
    label[..., :4] = 1
    for k, counts in enumerate(regions):
        shared, extra = counts or (2, 2)
        prediction[k, ..., :shared] = 1
        prediction[k, ..., 4 : 4 + extra] = 1
        if counts is None:
            label[k] = NAN
    return prediction, label


def test_dice_of_each_scan_is_nan_where_unknown_or_empty() -> None:
    first, second = _scan((4, 0), None, (2, 2)), _scan((2, 0), (0, 4), (4, 4))
    second[1][2] = 0  # annotated, but empty
    scores = RegionDice()([first[0], second[0]], [first[1], second[1]])
    expected = torch.tensor([[1.0, NAN, 0.5], [2 / 3, 0.0, NAN]])
    torch.testing.assert_close(scores, expected, equal_nan=True)


def test_ignored_voxels_count_for_nothing() -> None:
    prediction, label = _scan((4, 4), (2, 2), (0, 4))
    label[0, ..., 6:] = NAN  # two of the voxels predicted outside
    label[1, ..., 1:4] = NAN  # one voxel predicted inside, two missed
    label[2, ..., :4] = NAN  # all of the region: no reference is left
    scores = RegionDice()([prediction], [label])
    torch.testing.assert_close(scores, torch.tensor([[2 * 4 / (4 + 6), 2 * 1 / (1 + 3), NAN]]), equal_nan=True)


def test_false_positives_are_counted_where_no_known_voxel_is_inside() -> None:
    first, second = _scan((2, 3), None, (0, 4)), _scan((4, 2), (0, 0), (0, 1))
    first[1][0] = 0  # absent: 5 voxels predicted
    first[1][2, ..., :5] = NAN  # nothing inside that is known: 3 of 4 voxels predicted are
    second[1][0] = 0  # 6 voxels
    metric = FalsePositiveVolume([10.0, 5.0, 10.0])  # voxels of 0.5 ml
    scores = metric([first[0], second[0]], [first[1], second[1]])
    torch.testing.assert_close(scores, torch.tensor([[2.5, NAN, 1.5], [3.0, NAN, NAN]]), equal_nan=True)
    assert metric.aggregate().item() == pytest.approx((2.75 + 1.5) / 2)


def test_batch_and_list_give_the_same() -> None:
    scans = [_scan((1, 3), None), _scan(None, (3, 1))]
    predictions, labels = (torch.stack(part) for part in zip(*scans, strict=True))
    as_list = RegionDice()(list(predictions), list(labels))
    torch.testing.assert_close(RegionDice()(predictions, labels), as_list, equal_nan=True)
    assert as_list[0, 0].item() == pytest.approx(dice(predictions[0, 0], labels[0, 0]))


def test_mean_over_regions_of_the_mean_over_annotated_scans() -> None:
    metric = RegionDice()
    for scan in (_scan((4, 0), None, None), _scan((2, 2), None, None), _scan((0, 4), (4, 0), None)):
        metric([scan[0]], [scan[1]])
    torch.testing.assert_close(metric.per_region(), torch.tensor([0.5, 1.0, NAN]), equal_nan=True)
    assert float(metric.aggregate()) == 0.75  # not the mean over all values, 0.625; the third region is left out


def test_a_single_region() -> None:
    metric = RegionDice()
    metric(*(part[None] for part in _scan((2, 2))))
    metric(*(part[None] for part in _scan(None)))
    assert float(metric.aggregate()) == 0.5


def test_no_region_annotated_is_nan_and_no_scan_is_an_error() -> None:
    metric = RegionDice()
    metric(*(part[None] for part in _scan(None, None)))
    assert math.isnan(metric.aggregate())
    metric.reset()
    with pytest.raises(ValueError, match="no scan"):
        metric.aggregate()


def test_refuses_other_shapes() -> None:
    """MONAI would take a one-channel reference for a label map."""
    with pytest.raises(ValueError, match="one shape"):
        RegionDice()(torch.ones(1, 2, 4, 4, 4), torch.ones(1, 1, 4, 4, 4))


def test_in_an_engine() -> None:
    def step(engine: Engine, scan: tuple[torch.Tensor, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        return [{"pred": MetaTensor(scan[0]), "label": MetaTensor(scan[1])}]

    engine = Engine(step)
    IgniteMetricHandler(metric_fn=RegionDice(), output_transform=from_engine(["pred", "label"])).attach(engine, "dice")
    state = engine.run([_scan((4, 0), None), _scan((2, 2), (1, 3))])
    assert state.metrics["dice"] == pytest.approx((0.75 + 0.25) / 2)
    details = state.metric_details["dice"]
    torch.testing.assert_close(details, torch.tensor([[1.0, NAN], [0.5, 0.25]]), equal_nan=True)
