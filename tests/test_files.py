from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from conemos_bundle import files
from conemos_bundle.errors import OutputError
from conemos_bundle.files import refuse_unwritable, write_in_one_step


def test_a_file_is_there_whole(tmp_path: Path) -> None:
    write_in_one_step(tmp_path / "a" / "f", lambda part: part.write_text("x"))
    assert [(file.name, file.read_text()) for file in (tmp_path / "a").iterdir()] == [("f", "x")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(number: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=os.strerror(number)) as error:
        write_in_one_step(tmp_path / "f", fail)
    assert str(error.value).startswith(f"{tmp_path / 'f'}: cannot be written (") and "\n" not in str(error.value)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("f", "old")]


def test_torchs_writer_is_asked_about_only_where_the_disk_says_no(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(part: Path) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0")

    with pytest.raises(RuntimeError, match="enforce fail"):  # there is room: another error, to be seen whole
        write_in_one_step(tmp_path / "f", fail)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(
        files.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    )
    with pytest.raises(OutputError, match=r"f: cannot be written \(No space left on device\)"):
        write_in_one_step(tmp_path / "f", fail)
    assert not list(tmp_path.iterdir())


def test_a_real_full_device(tmp_path: Path) -> None:
    """torch.save onto /dev/full, a device that is always full."""
    with pytest.raises(OutputError, match="No space left on device"):
        write_in_one_step(tmp_path / "f", lambda _: Path("/dev/full").write_bytes(b"x" * 10))
    (tmp_path / "f.part").symlink_to("/dev/full")
    with pytest.raises((OutputError, RuntimeError)):
        write_in_one_step(tmp_path / "f", lambda part: torch.save({"a": torch.zeros(10**5)}, part))
    assert not (tmp_path / "f").exists()


def test_folders_that_cannot_be_made_are_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for folder in ("file", "file/below/it"):
        with pytest.raises(OutputError, match="file is not a folder; choose another one"):
            refuse_unwritable(tmp_path / folder)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="is not a folder"):
        refuse_unwritable(tmp_path / "broken" / "x")
    refuse_unwritable(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="no permission, or a read-only disk"):
        refuse_unwritable(tmp_path / "new")
