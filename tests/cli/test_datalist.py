from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conemos_bundle.cli import datalist
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.errors import UserError

FOLDERS = dict.fromkeys((f"{kind}/{name}.nii.gz" for kind in ("images", "masks/brain") for name in "abcd"), "")


def test_only_the_same_data_set_is_written_over(
    source: Path, imported: Callable[..., Datalist], capsys: pytest.CaptureFixture[str]
) -> None:
    first, again = imported(FOLDERS), imported(FOLDERS)
    assert first == again and "in place of" not in capsys.readouterr().out
    assert imported(FOLDERS, validation=0, test=0) != first
    assert "datalist.json in place of another one of this data set" in capsys.readouterr().out
    kept = Path("datalist.json").read_bytes()
    for options, words in (
        ({"dataset_dir": str(source.parent)}, f"is the datalist of another data set, 'data' in {source}; pass another"),
        ({"name": "other"}, "is the datalist of another data set, 'data'"),
        ({"output": str(source / "images/a.nii.gz")}, "a.nii.gz: is there already and is no datalist; pass another"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            datalist(str(source), **options)
    assert Path("datalist.json").read_bytes() == kept and not (source / "images/a.nii.gz").read_bytes()


def test_a_datalist_is_written_without_waiting_for_torch_and_monai(
    source: Path, imported: Callable[..., Datalist]
) -> None:
    imported(FOLDERS)
    code = (
        "import sys; from conemos_bundle.cli import datalist; "
        f"datalist({str(source)!r}); print(sorted({{'torch', 'monai'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_wrong_word_about_empty_masks_is_told_before_anything_is_read(source: Path) -> None:
    with pytest.raises(UserError, match="^--empty here: write --empty absent"):
        datalist(str(source), empty="here")
