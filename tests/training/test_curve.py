from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from conemos_bundle.training.curve import Curve, false_positives, never_found, read_curve
from conemos_bundle.training.mask_count import MaskCount
from ignite.engine import Engine, Events


def train(folder: Path, epochs: tuple[int, int], validated: tuple[int, ...] = (), eye: float = 0.25) -> pd.DataFrame:
    """Epochs (first, last) of 4 steps of 10 ms each, with losses 1, 2, 3, …, and validation after some; the curve.

    Step i learns one mask of one image, and where i is even three of another.
    """

    def step(engine: Engine, batch: int) -> dict[str, torch.Tensor]:
        time.sleep(0.01)
        label = torch.full((2, 4, 2, 2, 2), torch.nan)
        label[0, 3, 0, 0, 0] = 0
        label[1, :3, 1] = 1 if engine.state.iteration % 2 == 0 else torch.nan
        return {"loss": torch.tensor(float(engine.state.iteration)), "label": label}

    trainer, evaluator = Engine(step), Engine(lambda engine, batch: None)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate() -> None:
        if trainer.state.epoch in validated:
            evaluator.state.epoch = trainer.state.epoch
            evaluator.state.metrics = {"dice": 0.4375}
            evaluator.state.metric_details = {"dice": torch.tensor([[0.5, float("nan")], [0.75, eye]])}

    @trainer.on(Events.STARTED)
    def resume() -> None:
        trainer.state.epoch = epochs[0] - 1
        trainer.state.iteration = 4 * (epochs[0] - 1)

    MaskCount().attach(trainer)
    Curve(str(folder), optimizer, evaluator, ["body", "eye"], metric="dice").attach(trainer)
    trainer.run(range(4), max_epochs=epochs[1])
    return pd.read_csv(folder / "curve.csv")


def test_one_row_an_epoch(tmp_path: Path) -> None:
    curve = train(tmp_path / "run", (1, 3), validated=(2,))
    assert curve["epoch"].tolist() == [1, 2, 3]
    assert curve["step"].tolist() == [4, 8, 12]
    assert curve["masks"].tolist() == [10, 20, 30]
    assert curve["loss"].tolist() == [2.5, 6.5, 10.5]
    assert curve["learning_rate"].tolist() == [0.5] * 3
    assert curve["validation_dice"].fillna(-1).tolist() == [-1, 0.4375, -1]
    assert curve["validation_dice_body"].fillna(-1).tolist() == [-1, 0.625, -1]
    assert curve["validation_dice_eye"].fillna(-1).tolist() == [-1, 0.25, -1]
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["curve.csv"]


HEAD = (
    "epoch,step,masks,seconds,loss,learning_rate,validation_dice,validation_dice_a,validation_dice_b,validation_dice_c"
)


@pytest.mark.parametrize(
    ("rows", "missed"),
    [
        (["0.3,0.6,0.0,"], ["b"]),  # c is in no validation scan
        (["0.3,0.6,0.0,", "0.4,0.2,0.6,"], []),
        (["0.4,0.8,0.0,0.4", "0.2,0.0,0.2,0.4", ",,,"], ["b"]),  # the best epoch's weights are kept
        (["0.0,0.0,0.0,"], ["a", "b"]),
        ([",,,", "0.0,0.0,0.0,", ",,,"], ["a", "b"]),
        ([",,,"], []),
        ([], []),
    ],
)
def test_who_was_never_found(tmp_path: Path, rows: list[str], missed: list[str]) -> None:
    lines = [f"{epoch},1,1,1.0,0.5,0.1,{row}" for epoch, row in enumerate(rows, 1)]
    (tmp_path / "curve.csv").write_text("\n".join([HEAD, *lines]) + "\n")
    assert never_found(read_curve(tmp_path / "curve.csv")) == missed


def test_a_training_ends_with_a_warning_of_regions_that_were_not_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "run", (1, 2), validated=(2,))
    assert not caplog.records
    train(tmp_path / "other", (1, 2), validated=(2,), eye=0.0)
    (warning,) = caplog.messages
    assert warning.startswith(f"{tmp_path / 'other'}: nothing of 'eye' was found in the validation scans: train longer")


def test_false_positives_of_regions_that_are_absent_somewhere() -> None:
    engine = Engine(lambda engine, batch: None)
    assert false_positives(engine, ["body", "eye"]) == {}
    engine.state.metric_details = {"val_false_positive_ml": torch.tensor([[float("nan"), 0.5], [float("nan"), 0.0]])}
    assert false_positives(engine, ["body", "eye"]) == {"eye": 0.25}


def test_seconds_add_up_over_interruptions(tmp_path: Path) -> None:
    first = train(tmp_path, (1, 2))
    both = train(tmp_path, (3, 4))
    assert both["epoch"].tolist() == [1, 2, 3, 4]
    pd.testing.assert_frame_equal(both[:2], first)
    assert (both["seconds"].diff()[1:] >= 0.04).all()
    assert both["seconds"].iloc[0] == pytest.approx(0.04, abs=0.03)


def test_masks_add_up_over_interruptions_and_stay_empty_where_earlier_ones_were_not_counted(tmp_path: Path) -> None:
    curve = train(tmp_path, (1, 2))
    assert train(tmp_path, (2, 4))["masks"].tolist() == [10, 20, 30, 40]
    curve.drop(columns="masks").to_csv(tmp_path / "curve.csv", index=False)  # as it was written before
    assert [row.masks for row in read_curve(tmp_path / "curve.csv")] == [None, None]
    resumed = train(tmp_path, (3, 4))
    assert resumed["masks"].isna().all() and resumed["step"].tolist() == [4, 8, 12, 16]
    assert [row.masks for row in read_curve(tmp_path / "curve.csv")] == [None] * 4


def test_an_epoch_done_again_replaces_its_row(tmp_path: Path) -> None:
    train(tmp_path, (1, 3))
    again = train(tmp_path, (2, 3))
    assert again["epoch"].tolist() == [1, 2, 3]
    assert len(read_curve(tmp_path / "curve.csv")) == 3
