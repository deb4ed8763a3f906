"""The command line as users meet it: each call is a process of its own in a folder that must stay empty."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from conemos_bundle import cli
from conemos_bundle.cli.app import COMMANDS, run
from conemos_bundle.cli.commands import read_words, typer_command
from conemos_bundle.errors import UsageError
from conemos_bundle.utils.version import __version__

CROP = Path(__file__).parents[1].parent / "models" / "model.pt"  # a file that is there
REFUSED = [
    ("predict SCAN --regoin a", "--regoin: no such option of 'conemos predict' (did you mean --regions?)"),
    ("predict {file} --region anterior", "--region: no such option of 'conemos predict' (did you mean --regions?)"),
    (
        "predict {file} -r antrior",
        "region 'antrior' is unknown (did you mean anterior?); this model knows: hippocampus, anterior, posterior",
    ),
    ("predict {file} --regions hippocampus femur", "region 'femur' is unknown; this model knows: hippocampus"),
    ("predict {file} --output_format labelmaps", "--output_format 'labelmaps': use one of files, multichannel"),
    ("predict {file} --mode hole", "use one of window, whole (did you mean whole?)"),
    ("predict {file} --engine openvno", "--engine 'openvno': use one of torch, openvino (did you mean openvino?)"),
    ("predict nowhere.nii.gz", "nowhere.nii.gz: no such file"),
    ("predict {file} --model runs/mine", "runs/mine: no such folder"),
    ("predict {file} --output", "--output: needs a value"),
    ("phantom q --tests 1", "--tests: no such option of 'conemos phantom' (did you mean --test?)"),
    ("phantom q --size 4.5", "--size"),
    ("phantom", "conemos phantom: OUTPUT is missing; see 'conemos phantom --help'"),
    ("demo --epochs 0", "--epochs 0: give a number of at least 1"),
    ("demo --steps_per_epoch 0", "--steps_per_epoch 0: give a number of at least 1"),
    ("demo --phantom --no_training", "--no_training: the demonstration on the phantom is a training"),
    ("demo folder", "'folder' is one argument too many"),
    ("pack", "conemos pack: RUN is missing"),
    ("pack nowhere out", "nowhere: no such folder"),
    ("check {file} b", "'b' is one argument too many"),
    ("train {file} --max_epoch 3", "--max_epoch: no such setting in train.json (did you mean --max_epochs?)"),
    ("train {file} --overlay psl_los", "psl_los: no such overlay (did you mean psl_loss?)"),
    ("train nowhere.json", "nowhere.json: no such file"),
    ("train {file} --dataset_dir nowhere", "nowhere: no such folder"),
    ("evaluate {file} --split tests", "--split 'tests': use one of training, validation, test (did you mean test?)"),
    ("evaluate {file} --run nowhere", "nowhere: no such folder"),
    ("experiments {file} --methods psl_los", "--methods psl_los: no such method (did you mean psl_loss?)"),
    ("datalist nowhere", "nowhere: no such folder"),
    ("datalist . --kind folder", "--kind folder: use one of folders, decathlon, nnunet, csv, segmentations"),
    ("export . --formats onx", "--formats 'onx': use some of ts,pt2,onnx (did you mean onnx?)"),
    ("label-app app --bundle nowhere", "nowhere: no such folder"),
    ("import-keras nowhere.h5", "nowhere.h5: no such file"),
    ("report nowhere out", "nowhere: no such folder"),
    ("bench --only steps", "--only steps: use some of step, inference, memory, startup, growth, augmentation (did you"),
    ("bench --dtype float16", "--dtype float16: use one of float32, bfloat16, both (did you mean bfloat16?)"),
    ("bench --size 40", "--size 40: give a multiple of 16, at least 32"),
    ("bench --size 32 --channels 2,3,4,5,6", "--size 32: give a multiple of 16, at least 48"),
    ("bench --channels 16,32", "--channels 16,32: give three to five numbers, such as 16,32,64,128"),
    ("bench --channels 8 x 32", "three to five numbers"),
    ("bench --rounds 0", "--rounds 0: give a number of at least 1"),
    ("bench --most_seconds -1", "--most_seconds"),
    ("info --model nowhere", "nowhere: no such folder"),
    ("info --model .", ".: neither a bundle (configs/inference.json) nor a finished run (run.json)"),
    ("bench datalist.json", "'datalist.json' is one argument too many"),
    ("trian", "trian: no such command (did you mean train?); see 'conemos --help'"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED)
def test_what_is_wrong_is_refused_before_anything_is_done(
    words: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        run([word.format(file=CROP) for word in words.split()])
    assert line in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", ["predict {file} --region anterior", "predict {file} -r femur", "train {file} --x 1", "bench --size 9"]
)
def test_a_refusal_is_one_line_and_exit_code_2_without_torch(words: str, tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ['conemos', *{[word.format(file=CROP) for word in words.split()]!r}]
import os
end, os._exit = os._exit, lambda code: end(code if not {{'torch', 'monai', 'pandas'}} & set(sys.modules) else 99)
from conemos_bundle.cli.app import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert done.stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_help_and_version_everywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["--help"], ["-h"], [], *([name, option] for name in COMMANDS for option in ("-h", "--help"))):
        run(words)
        assert capsys.readouterr().out.startswith("Usage: conemos")
    run(["pack", "RUN", str(tmp_path / "out"), "-h"])
    assert "Usage: conemos pack" in capsys.readouterr().out
    run(["--version"])
    assert capsys.readouterr().out == f"conemos {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = COMMANDS[name][0]
    run([name, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        word = parameter.name.upper() if parameter.default is parameter.empty else f"--{parameter.name}"
        assert word in shown
        assert typer_command(function, {}).__annotations__[parameter.name].__metadata__[0].help.strip()


def test_help_of_training_lists_settings_and_overlays(capsys: pytest.CaptureFixture[str]) -> None:
    run(["train", "--help"])
    shown = capsys.readouterr().out
    config = json.loads((Path(__file__).parents[2] / "configs" / "train.json").read_text(encoding="utf-8"))
    for name in ("max_epochs", "batch_size", "learning_rate", "output_dir"):
        line = next(line for line in shown.splitlines() if line.strip().startswith(f"--{name} "))
        assert len(line.split()) > 3
    assert f"[default: {config['max_epochs']}]" in " ".join(shown.split())
    assert "psl_loss" in shown and "paper" in shown
    run(["evaluate", "--help"])
    shown = capsys.readouterr().out
    assert "--evaluation_dir" in shown and "--max_epochs" not in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("S --regions a b", {"regions": "a,b"}),
        ("S --regions a,b", {"regions": "a,b"}),
        ("S -r a b -o out", {"regions": "a,b", "output": "out"}),
        ("--regions a {file}", {"regions": "a"}),
        ("S --no_resume", {"no_resume": None}),
        ("S --resume False", {"no_resume": None}),
        ("S --resume true", {"resume": None}),
        ("S --output-format=labelmap", {"output_format": "labelmap"}),
    ],
)
def test_words_of_options(words: str, expected: dict[str, str | None]) -> None:
    read = read_words(cli.predict, [word.format(file=CROP) for word in words.split()], "predict").for_typer
    options, arguments = read[: read.index("--")], read[read.index("--") + 1 :]
    given = {}
    while options:
        name = options.pop(0).removeprefix("--")
        given[name] = options.pop(0) if options and not options[0].startswith("--") else None
    assert given == expected
    assert len(arguments) == 1


def test_arguments_may_be_written_as_options() -> None:
    assert read_words(cli.pack, ["run", "--output", "out"], "pack").for_typer == ["--", "run", "out"]
    assert read_words(cli.pack, ["-o", "out", "run"], "pack").for_typer == ["--", "run", "out"]


def test_the_folder_to_write_into_has_one_letter() -> None:
    """Of an evaluation it is not the run's, which is read."""
    assert read_words(cli.train, ["d.json", "-o", "out"], "train").settings == {"output_dir": "out"}
    assert read_words(cli.evaluate, ["d.json", "-o", "out"], "evaluate").settings == {"evaluation_dir": "out"}


def test_values_of_settings() -> None:
    words = "d.json --channels [4,8] --resume false --n_conditioned none --cache disk --lr 1e-3 -o runs/1e3"
    assert read_words(cli.train, words.split(), "train").settings == {
        "channels": [4, 8], "resume": False, "n_conditioned": None, "cache": "disk", "lr": 0.001,
        "output_dir": "runs/1e3",
    }  # fmt: skip
