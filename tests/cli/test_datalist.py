from __future__ import annotations

import re
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
