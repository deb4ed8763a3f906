"""A run folder from a stranger: its record, its weights, its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle.cli import evaluate, pack, predict, report, train
from conemos_bundle.errors import UserError, find_user_error
from conemos_bundle.evaluation.tables import EvaluatedRegion
from conemos_bundle.hosts.label.fine_tuning import read_history
from conemos_bundle.runs.record import Run, as_dictionary, read_run
from conemos_bundle.training.curve import read_curve
from conemos_bundle.utils.records import read_table

ROOT = Path(__file__).resolve().parents[2]
Change = Callable[[dict[str, Any], dict[str, Any], str], Any]


def put(*place: str | int) -> Callable[[dict[str, Any], Any], None]:
    """A function that puts a value into a record."""

    def change(record: Any, value: Any) -> None:
        for step in place[:-1]:
            record = record[step]
        record[place[-1]] = value

    return change


PLACES = [
    put("regions"), put("regions", 0), put("inside"), put("plan"), put("plan", "spacing"), put("plan", "spacing", 0),
    put("plan", "patch_size"), put("plan", "patch_size", 2), put("plan", "in_channels"), put("plan", "whole_scans"),
    put("network"), put("network", "_target_"), put("network", "channels"), put("network", "channels", 0),
    put("network", "norm"), put("network", "film_position"), put("network", "num_regions"), put("settings"),
    put("settings", "seed"), put("settings", "new"), put("machine"), put("versions", "torch"), put("data"),
    put("data", "name"), put("data", "description"), put("data", "annotated"), put("parameters"), put("evaluation"),
    put("more"), put("network", "more"), put("plan", "more"),
]  # fmt: skip


@pytest.mark.parametrize("place", range(len(PLACES)))
def test_no_place_of_a_record_takes_what_monai_would_run(
    place: int, sent: Path, target: dict[str, Any], expression: str
) -> None:
    good = json.loads((sent / "run.json").read_text())
    for payload in (target, expression, [target], [expression], "@network_def", "%configs/train.json", "a@##b"):
        bad = json.loads(json.dumps(good))
        PLACES[place](bad, payload)
        (sent / "run.json").write_text(json.dumps(bad))
        with pytest.raises(UserError, match=r"run\.json: "):
            read_run(sent / "run.json")


NAMES = [
    "..", ".", "/", "a/b", "../../x", "a\\b", "a\0b", "a\nb", "CON", "nul", "com1.txt", "LPT9", "x.", "x ", " x", "-rf",
    ".hidden", "background", "Background",
    "a:b", "a*b", "a?b", "a|b", "a<b",
    "x" * 65, "т" * 64 + "т", "👶", "a\u202eb", "a\u200bb", "\ufeffa", "ㅤ", "a\ufe0f", "\ud800",
    "$x", "@x", "%x", "", "~", "`id`", "$(id)", "a;b", "a&b", "a'b", 'a"b', "_target_",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_region_is_called_what_could_lead_elsewhere(name: str, sent: Path) -> None:
    record = json.loads((sent / "run.json").read_text())
    record["regions"][0] = name
    (sent / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"run\.json: regions\.0: "):
        read_run(sent / "run.json")


IMPOSSIBLE: list[tuple[Callable[[dict[str, Any], Any], None], Any, str]] = [
    (put("plan", "spacing"), [0, 1, 1], "plan.spacing.0"),
    (put("plan", "spacing"), [-1, 1, 1], "plan.spacing.0"),
    (put("plan", "spacing"), [1e-6, 1, 1], "plan.spacing.0"),
    (put("plan", "spacing"), [1, 1], "plan.spacing"),
    (put("plan", "spacing"), ["1", 1, 1], "plan.spacing.0"),
    (put("plan", "patch_size"), [10**9, 8, 8], "plan.patch_size.0"),
    (put("plan", "patch_size"), [2048, 2048, 2048], "plan.patch_size: Value error, too large"),
    (put("plan", "patch_size"), [8.5, 8, 8], "plan.patch_size.0"),
    (put("network", "channels"), [4096] * 8, "parameters, more than"),
    (put("network", "channels"), [], "network.channels"),
    (put("network", "channels"), [True, 8], "network.channels.0"),
    (put("network", "num_regions"), 10**6, "network.num_regions"),
    (put("network", "in_channels"), 2, "differ in 'in_channels'"),
    (put("network", "last_relu"), False, "has no argument 'last_relu'"),
    (put("network", "spatial_dims"), 3, "network.spatial_dims"),
    (put("inside"), {"outer": "nose"}, "'inside' names 'nose'"),
    (put("inside"), {"outer": "inner core", "inner core": "outer"}, "inside itself"),
    (put("added"), {"nose": {}}, "'added' names 'nose'"),
    (put("added"), {"outer": {"license": "$print()"}}, "added.outer.license"),
    (put("regions"), ["outer"], "names 1 regions, but its network has 2"),
    (put("regions"), ["outer", "Outer"], "differ by case alone"),
    (put("regions"), ["outer", "outer"], "twice"),
    (put("evaluation"), {"outer mean Dice": 2.0}, "evaluation"),
    (put("data", "description"), "x" * 10**5, "data.description"),
]


@pytest.mark.parametrize("case", range(len(IMPOSSIBLE)))
def test_values_that_no_training_writes(case: int, sent: Path) -> None:
    change, value, words = IMPOSSIBLE[case]
    record = json.loads((sent / "run.json").read_text())
    change(record, value)
    (sent / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError) as error:
        read_run(sent / "run.json")
    assert words.replace("Value error, ", "") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"[1, 2]", b"null", b'"text"', b"\xff\xfe{}", b'{"regions": NaN}', b'{"regions": Infinity}',
        b'{"regions": [], "regions": ["a"]}', b"[" * 10**5, b'{"plan": ' * 10**5, b'{"regions": ' + b"9" * 10**5 + b"}",
        b" " * (2**26 + 1),
    ],
    ids=range(13),
)  # fmt: skip
def test_what_is_no_record(text: bytes, sent: Path) -> None:
    (sent / "run.json").write_bytes(text)
    with pytest.raises(UserError, match=r"run\.json: ") as error:
        read_run(sent / "run.json")
    assert len(str(error.value)) < 1000 and "\n" not in str(error.value)


def failure(command: Callable[[], Any]) -> BaseException:
    """What a command raises; MONAI's parser wraps it."""
    try:
        command()
    except Exception as error:
        return error
    raise AssertionError("not refused")


def test_every_command_refuses_a_poisoned_record(
    sent: Path, room: Path, tiny_dataset: Path, target: dict[str, Any]
) -> None:
    record = json.loads((sent / "run.json").read_text())
    record["plan"]["spacing"] = target
    (sent / "run.json").write_text(json.dumps(record))
    scan, datalist = str(tiny_dataset / "images" / "test_0.nii.gz"), str(tiny_dataset / "datalist.json")
    commands: list[Callable[[], Any]] = [
        lambda: predict(scan, model=str(sent), output=str(room / "out")),
        lambda: evaluate(datalist, run=str(sent)),
        lambda: pack(str(sent), str(room / "bundle")),
        lambda: train(datalist, "fine_tune", pretrained_path=str(sent / "model.pt"), output_dir=str(room / "new")),
    ]
    for command in commands:
        error = failure(command)
        assert "plan.spacing" in str(find_user_error(error))
    assert sorted(file.name for file in room.iterdir()) == ["sent"]


def test_a_poisoned_text_of_the_data_set_is_not_packed(sent: Path, room: Path, expression: str) -> None:
    record = json.loads((sent / "run.json").read_text())
    record["data"]["description"] = f" \n {expression}"
    (sent / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="data.description"):
        pack(str(sent), str(room / "bundle"))


@pytest.mark.parametrize("file", ["model.pt", "checkpoint.pt"])
def test_weights_are_no_programs(file: str, sent: Path, room: Path, tiny_dataset: Path, pickled: object) -> None:
    torch.save({"network": pickled, "identity": pickled}, sent / file)
    scan, datalist = str(tiny_dataset / "images" / "test_0.nii.gz"), str(tiny_dataset / "datalist.json")
    commands: dict[str, list[Callable[[], Any]]] = {
        "model.pt": [
            lambda: predict(scan, model=str(sent), output=str(room / "out")),
            lambda: pack(str(sent), str(room / "bundle")),
            lambda: train(datalist, "fine_tune", pretrained_path=str(sent / file), output_dir=str(room / "new")),
        ],
        "checkpoint.pt": [lambda: train(datalist, output_dir=str(sent), max_epochs=1, steps_per_epoch=1)],
    }
    for command in commands[file]:
        error = failure(command)
        assert f"{file}: " in str(find_user_error(error))


def test_tables_of_a_run_are_data(sent: Path, room: Path, expression: str) -> None:
    (sent / "evaluation_test").mkdir(exist_ok=True)
    (sent / "evaluation_test" / "per_scan.csv").write_text(f"scan,subject,region,dice\n{expression},=cmd,../x,inf\n")
    with pytest.raises(UserError, match=r"per_scan\.csv: lacks the column"):
        report(str(sent), str(room / "report"))


PER_SCAN = "scan,subject,region,dice,sd95_mm,sd95_voxels,reference_ml,predicted_ml\n"
CURVE = "epoch,step,seconds,loss,learning_rate,validation_dice"
BAD_ROWS = [
    "s,s,../x,0.5,1,1,1,1", "s,s,$x,0.5,1,1,1,1", "s,s,outer,7,1,1,1,1", "s,s,outer,-1,1,1,1,1",
    "s,s,outer,inf,1,1,1,1", "s,s,outer,0.5,1e999,1,1,1", "s,s,outer,=1+1,1,1,1,1", "s,s,outer,0.5,1,1,1",
    "s,s,outer,0.5,1,1,1,1,1", "\0,s,outer,0.5,1,1,1,1", ",s,outer,0.5,1,1,1,1", '"s,s,outer,0.5,1,1,1,1',
]  # fmt: skip
BAD_CURVES = [
    f"{CURVE}\n0,1,1,1,1,\n", f"{CURVE}\n1.5,1,1,1,1,\n", f"{CURVE}\n1,1,inf,1,1,\n", f"{CURVE}\n1,1,1,1,1,2\n",
    f"{CURVE},more\n1,1,1,1,1,,1\n", f"{CURVE},validation_dice_../x\n1,1,1,1,1,,1\n", f"{CURVE},loss\n1,1,1,1,1,,1\n",
    f"{CURVE},validation_dice_outer\n1,1,1,1,1,,$x\n", "epoch\n1\n", "\xff",
]  # fmt: skip


def test_whole_tables_are_read(sent: Path) -> None:
    (sent / "per_scan.csv").write_text(f"{PER_SCAN}007,NA,outer,0.5,1,,1,1\ns,s,1e3,,nan,,1,\n")
    rows = [row.model_dump() for row in read_table(EvaluatedRegion, sent / "per_scan.csv")]
    assert [(row["scan"], row["subject"], row["region"], row["dice"], row["sd95_mm"]) for row in rows] == [
        ("007", "NA", "outer", 0.5, 1.0), ("s", "s", "1e3", None, None),
    ]  # fmt: skip
    (sent / "curve.csv").write_text(f"{CURVE},validation_dice_inner core\n1,4,2.5,nan,1e-3,0.5,\n")
    (row,) = read_curve(sent / "curve.csv")
    assert (row.epoch, row.step, row.seconds, row.learning_rate, row.validation_dice) == (1, 4, 2.5, 1e-3, 0.5)
    assert row.model_extra == {"validation_dice_inner core": None} and row.loss != row.loss


@pytest.mark.parametrize("row", BAD_ROWS)
def test_rows_of_an_evaluation_have_a_schema(row: str, sent: Path, room: Path) -> None:
    (sent / "evaluation_test").mkdir(exist_ok=True)
    (sent / "evaluation_test" / "per_scan.csv").write_text(f"{PER_SCAN}s,s,outer,0.5,1,1,1,1\n{row}\n")
    with pytest.raises(UserError, match=r"per_scan\.csv: (row 2|cannot read)") as error:
        report(str(sent), str(room / "report"))
    assert "\n" not in str(error.value) and not (room / "report").exists()


@pytest.mark.parametrize("text", BAD_CURVES)
def test_a_curve_has_a_schema(text: str, sent: Path) -> None:
    (sent / "curve.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"curve\.csv: .*; put a copy back, or move it away") as error:
        read_curve(sent / "curve.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "history",
    [
        5, {}, [5], [{}], [{"replaced": 1}], [{"replaced": True, "reason": "$x"}], [{"replaced": True, "more": 1}],
        [{"replaced": True, "before": {"../x": 1.0}}], [{"replaced": True, "after": {"outer": 2.0}}],
        [{"replaced": True, "trained_on": "test_0"}], [{"replaced": True, "time": {"_target_": "os.system"}}],
    ],
)  # fmt: skip
def test_a_history_has_a_schema(history: Any, sent: Path) -> None:
    (sent / "history.json").write_text(json.dumps(history))
    with pytest.raises(UserError, match=r"history\.json: is no list of trainings \(.*\); put a copy back"):
        read_history(sent)


@pytest.mark.parametrize(
    "summary", [{"regions": {"../x": {"dice": {"mean": 1}}}}, {"regions": {"outer": {"dice": {"mean": 7}}}}, [], {}]
)
def test_a_summary_is_data(summary: Any, sent: Path, room: Path) -> None:
    (sent / "evaluation_test").mkdir(exist_ok=True)
    (sent / "evaluation_test" / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(UserError, match=r"summary\.json: "):
        pack(str(sent), str(room / "bundle"))
    assert not (room / "bundle").exists()


@pytest.mark.parametrize(
    "file", [ROOT / "models" / "run.json", *sorted((ROOT / "docs").rglob("run.json"))], ids=lambda f: str(f.parent.name)
)
def test_records_of_earlier_versions_are_read_as_they_are(file: Path) -> None:
    assert as_dictionary(read_run(file)) == json.loads(file.read_text(encoding="utf-8"))


def test_a_record_is_what_its_schema_writes(run: Path) -> None:
    record = read_run(run / "run.json")
    assert Run.model_validate(as_dictionary(record)) == record
