from __future__ import annotations

import json
from pathlib import Path

import pytest
from conemos_bundle.data.datalist import Datalist
from conemos_bundle.runs.subjects import SUBJECTS, Seen, known_subjects, scans_seen, subjects_bytes


def datalist(**splits: list[str]) -> Datalist:
    """Scans of these subjects, in their splits; a name that ends in a question mark is a scan without a mask."""
    scans = {
        split: [
            {"image": f"{i}.nii", "subject": s.rstrip("?"), "masks": {} if s.endswith("?") else {"liver": f"m{i}.nii"}}
            for i, s in enumerate(subjects)
        ]
        for split, subjects in splits.items()
    }
    return Datalist.model_validate({"regions": ["liver"], **scans})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = datalist(training=["a", "b", "b", "unseen?"], validation=["c"], test=["d"])
    (tmp_path / SUBJECTS).write_bytes(subjects_bytes(data))
    return tmp_path


def test_scans_of_subjects_seen_are_counted(folder: Path) -> None:
    other = datalist(test=["b", "a", "c", "c", "d", "unseen", "a?"])
    assert scans_seen(folder, other, "test") == Seen(scans=6, trained=2, chosen=2)
    assert scans_seen(folder, datalist(test=["d", "e"]), "test") == Seen(2, 0, 0)


def test_a_subject_of_both_is_one_that_the_run_was_trained_on(tmp_path: Path) -> None:
    (tmp_path / SUBJECTS).write_bytes(subjects_bytes(datalist(training=["a"], validation=["a"])))
    assert scans_seen(tmp_path, datalist(test=["a"]), "test") == Seen(1, 1, 0)


def test_what_the_model_that_it_began_with_has_seen_is_seen(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / SUBJECTS).write_bytes(subjects_bytes(datalist(training=["x"]), before=folder))
    assert scans_seen(tmp_path / "later", datalist(test=["a", "c", "x", "y"]), "test") == Seen(4, 2, 1)


def test_where_one_of_them_does_not_say_others_may_have_been_seen(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "later").mkdir()
    for content in (
        subjects_bytes(datalist(training=["a"]), before=tmp_path / "none"),
        known_subjects([folder, tmp_path / "none"]),
        known_subjects([folder], complete=False),
    ):
        assert content is not None
        (tmp_path / "later" / SUBJECTS).write_bytes(content)
        assert scans_seen(tmp_path / "later", datalist(test=["a", "y"]), "test") == Seen(2, 1, 0, complete=False)
        again = known_subjects([tmp_path / "later"])
        assert again == content
    assert known_subjects([tmp_path / "none"], complete=False) is None


def test_the_file_holds_no_name(folder: Path) -> None:
    content = json.loads((folder / SUBJECTS).read_text())
    assert {split: len(found) for split, found in content.items()} == {"training": 2, "validation": 1}
    assert all(len(each) == 16 for found in content.values() for each in found)


@pytest.mark.parametrize("content", ["", "[]", '{"training": ["a name"]}', '{"training": [], "more": []}'])
def test_what_is_no_such_file_says_nothing(content: str, folder: Path) -> None:
    (folder / SUBJECTS).write_text(content)
    assert scans_seen(folder, datalist(test=["a"]), "test") is None
    (folder / SUBJECTS).unlink()
    assert scans_seen(folder, datalist(test=["a"]), "test") is None
