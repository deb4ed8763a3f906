from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conemos_bundle.cli.app import run as conemos
from conemos_bundle.cli.predict import predict
from conemos_bundle.cli.runs_here import MOST_NAMED, name_runs, runs_here
from conemos_bundle.errors import UsageError, find_user_error
from conemos_bundle.utils.paths import bundle_folder, examples_folder

SCAN = sorted((examples_folder() / "images").iterdir())[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datalist.json").write_text(json.dumps({"name": "my set", "regions": ["liver"]}))
    return tmp_path


def make_run(folder: str, seconds: int = 0, files: tuple[str, ...] = ("model.pt", "run.json")) -> None:
    Path(folder).mkdir(parents=True)
    for name in files:
        (Path(folder) / name).touch()
        os.utime(Path(folder) / name, (seconds, seconds))


def refused(words: str) -> str:
    with pytest.raises(UsageError) as error:
        conemos([word.format(scan=SCAN) for word in words.split()])
    return str(error.value)


def test_runs_are_found_at_any_depth_and_the_newest_comes_first(here: Path) -> None:
    make_run("runs/mine", 1)
    make_run("runs/grid/data/conemos/seed0", 3)
    make_run("runs/other", 2)
    make_run("runs/empty", files=("run.json",))
    make_run("runs/weights", files=("model.pt",))
    assert [Path(name).as_posix() for name in runs_here()] == [
        "runs/grid/data/conemos/seed0", "runs/other", "runs/mine",
    ]  # fmt: skip
    assert name_runs("--run") == f"; runs here: --run {', '.join(runs_here())}"


def test_of_many_runs_some_are_named(here: Path) -> None:
    for i in range(MOST_NAMED + 2):
        make_run(f"runs/{i}", i)
    newest = ", ".join(str(Path("runs") / str(i)) for i in range(MOST_NAMED + 1, 1, -1))
    assert name_runs("-m") == f"; runs here: -m {newest} and 2 more"


def test_without_runs_nothing_is_said(here: Path) -> None:
    assert (runs_here(), name_runs("--run")) == ([], "")
    assert refused("predict {scan} --regions liver").endswith("; --model names a run or bundle of yours")
    assert refused("evaluate datalist.json") == f"--run is missing, and {Path('runs/my_set')} holds no run; train first"
    assert not (here / "runs").exists()
    assert "runs here" not in refused("predict {scan} --model nowhere")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("predict {scan} --model runs/mien", "runs/mien: no such folder (did you mean mine?); runs here: --model "),
        ("predict {scan} --model runs", "runs: holds neither a bundle nor a run's model.pt; runs here: --model "),
        ("predict {scan} -r liver", "region 'liver' is unknown; this model knows: hippocampus, anterior, posterior; "),
        ("evaluate datalist.json --run runs/mien", "runs/mien: no such folder (did you mean mine?); runs here: --run "),
        ("evaluate datalist.json --run runs", "runs: holds no model.pt; runs here: --run "),
        ("evaluate datalist.json", f"--run is missing, and {Path('runs/my_set')} holds no run; runs here: --run "),
    ],
)
def test_a_run_that_could_be_meant_is_named(words: str, line: str, here: Path) -> None:
    make_run("runs/mine")
    told = refused(words)
    assert told.startswith(line) and told.endswith(str(Path("runs/mine")))


@pytest.mark.parametrize("options", ["--output_dir elsewhere", "--ckpt_path elsewhere/model.pt"])
def test_who_says_where_the_weights_are_is_not_asked_for_the_run(options: str, here: Path) -> None:
    make_run("runs/mine")
    with pytest.raises(Exception, match=".") as error:
        conemos(["evaluate", "datalist.json", *options.split()])
    assert not isinstance(find_user_error(error.value), UsageError)


def test_a_run_that_was_cut_off_is_left_to_the_workflow(here: Path) -> None:
    """It says how the weights are written again."""
    make_run("runs/mine")
    make_run("runs/my_set", files=("checkpoint.pt",))
    with pytest.raises(Exception, match=".") as error:
        conemos(["evaluate", "datalist.json"])
    assert not isinstance(find_user_error(error.value), UsageError)


def test_the_model_of_the_package_is_not_taken_without_a_word_where_there_are_runs(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(str(SCAN), regions="anterior", output="a")
    assert "no --model given" not in caplog.text
    make_run("runs/mine")
    predict(str(SCAN), regions="anterior", output="b")
    lines = [record.getMessage() for record in caplog.records if "--model" in record.getMessage()]
    assert len(lines) == 1 and lines[0].endswith(f"comes with the package; runs here: --model {Path('runs/mine')}")
    predict(str(SCAN), regions="anterior", output="c", model=str(bundle_folder()))
    assert [record.getMessage() for record in caplog.records if "--model" in record.getMessage()] == lines


def test_the_refusal_imports_no_torch(here: Path) -> None:
    make_run("runs/mine")
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4)), "scan.nii.gz")
    code = (
        "import sys\nfrom conemos_bundle.cli.app import run\n"
        "try:\n    run(sys.argv[1:])\nexcept Exception as error:\n    print(error, 'torch' in sys.modules)"
    )
    for words in (["evaluate", "datalist.json"], ["predict", "scan.nii.gz", "--model", "runs"]):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
        assert done.stdout.rstrip().endswith("runs/mine False".replace("/", os.sep)), done.stderr
