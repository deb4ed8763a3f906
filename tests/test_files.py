from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conemos_bundle import files
from conemos_bundle.errors import OutputError, UserError
from conemos_bundle.files import (
    LOCK,
    WEEK,
    folder_in_one_step,
    one_at_a_time,
    one_writer,
    part_folder,
    reject_unwritable,
    sweep,
    write_in_one_step,
)
from conemos_bundle.utils.processes import host


def content(folder: Path) -> dict[str, str]:
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_there_whole(tmp_path: Path) -> None:
    write_in_one_step(tmp_path / "a" / "f", lambda part: part.write_text("x"))
    assert content(tmp_path) == {"a/f": "x"} and names(tmp_path / "a") == ["f"]


def test_what_is_not_whole_is_hidden_and_has_its_final_name(tmp_path: Path) -> None:
    seen: list[Path] = []

    def write(part: Path) -> None:
        seen.append(part)
        part.write_text("x")
        assert names(tmp_path) == [part.parent.name]  # the file itself is not there yet

    for _ in range(2):
        write_in_one_step(tmp_path / "model.pt", write)
        (tmp_path / "model.pt").unlink()
    assert [part.name for part in seen] == ["model.pt", "model.pt"]
    assert seen[0].parent != seen[1].parent and all(f"-{os.getpid()}-" in part.parent.name for part in seen)
    assert all(part.parent.name.startswith(".part-") for part in seen)


def test_the_same_content_is_the_same_file(tmp_path: Path) -> None:
    """torch.save writes the file's name into it: that must not tell process or host."""
    for folder in ("a", "b"):
        write_in_one_step(tmp_path / folder / "model.pt", lambda part: torch.save({"a": torch.ones(2)}, part))
    assert (tmp_path / "a" / "model.pt").read_bytes() == (tmp_path / "b" / "model.pt").read_bytes()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EFBIG])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(number: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")

    def fail(part: Path) -> None:
        part.write_text("half")
        raise OSError(number, os.strerror(number))

    with pytest.raises(OutputError, match=os.strerror(number)) as error:
        write_in_one_step(tmp_path / "f", fail)
    assert str(error.value).startswith(f"{tmp_path / 'f'}: cannot be written (") and "\n" not in str(error.value)
    assert content(tmp_path) == {"f": "old"} and names(tmp_path) == ["f"]


def test_the_disk_has_a_file_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        steps.append("fsync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def record_replace(source: Any, target: Any) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", record_fsync)
    monkeypatch.setattr(files.os, "replace", record_replace)
    write_in_one_step(tmp_path / "f", lambda part: part.write_text("x"))
    assert steps == ["fsync f", "rename", f"fsync {tmp_path.name}"]


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
    """/dev/full is a device that is always full."""
    with pytest.raises(OutputError, match="No space left on device"):
        write_in_one_step(tmp_path / "f", lambda _: Path("/dev/full").write_bytes(b"x" * 10))

    def torchs(part: Path) -> None:
        part.symlink_to("/dev/full")
        torch.save({"a": torch.zeros(10**5)}, part)

    with pytest.raises((OutputError, RuntimeError)):
        write_in_one_step(tmp_path / "f", torchs)
    assert names(tmp_path) == []


def test_a_folder_is_there_whole(tmp_path: Path) -> None:
    with folder_in_one_step(tmp_path / "a" / "new") as folder:
        (folder / "b").mkdir()
        (folder / "b" / "f").write_text("x")
        assert folder.name == "new" and not (tmp_path / "a" / "new").exists()
    assert content(tmp_path) == {"a/new/b/f": "x"} and names(tmp_path / "a") == ["new"]
    (tmp_path / "empty").mkdir()
    with folder_in_one_step(tmp_path / "empty") as folder:
        (folder / "f").write_text("y")
    assert content(tmp_path / "empty") == {"f": "y"}


def test_a_folder_that_fails_leaves_nothing_and_one_that_came_meanwhile_stays(tmp_path: Path) -> None:
    def fail() -> None:
        with folder_in_one_step(tmp_path / "new") as folder:
            (folder / "f").write_text("x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert names(tmp_path) == []

    def too_late() -> None:
        with folder_in_one_step(tmp_path / "new"):
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "other").write_text("y")

    with pytest.raises(OutputError, match="new: cannot be written .Directory not empty"):
        too_late()
    assert content(tmp_path) == {"new/other": "y"} and names(tmp_path) == ["new"]


def in_child(action: Callable[[], Any]) -> int:
    """Run in a forked process; its exit code: 0, 1 after a `UserError`, -9 after SIGKILL."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except UserError:
            os._exit(1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed_while_writing(path: Path) -> None:
    assert in_child(lambda: write_in_one_step(path, lambda part: [part.write_text("half"), die()])) == -signal.SIGKILL


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_goes_at_the_next_start(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("old")
    killed_while_writing(tmp_path / "f")
    assert len(names(tmp_path)) == 2 and (tmp_path / "f").read_text() == "old"
    assert in_child(lambda: sweep(tmp_path)) == 0
    assert names(tmp_path) == ["f"]
    killed_while_writing(tmp_path / "f")
    assert in_child(lambda: write_in_one_step(tmp_path / "g", lambda part: part.write_text("x"))) == 0
    assert names(tmp_path) == ["f", "g"]


def test_parts_of_living_processes_and_of_other_hosts_stay(tmp_path: Path) -> None:
    with part_folder(tmp_path) as own, subprocess.Popen(["sleep", "60"]) as other:
        living = tmp_path / f".part-{host()}-{other.pid}-0"
        elsewhere = tmp_path / ".part-another_host-1-0"
        another = tmp_path / ".part-something else"  # not ours
        for folder in (living, elsewhere, another):
            folder.mkdir()
        sweep(tmp_path)
        assert names(tmp_path) == sorted(f.name for f in (own, living, elsewhere, another))
        long_ago = time.time() - WEEK - 1
        os.utime(elsewhere, (long_ago, long_ago))
        os.utime(living, (long_ago, long_ago))  # then the process that has this number is another one
        sweep(tmp_path)
        assert names(tmp_path) == sorted(f.name for f in (own, another))
        other.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folder")
def test_the_part_of_a_living_process_stays_whatever_the_clock_says(tmp_path: Path) -> None:
    code = (
        "import sys; from conemos_bundle.files import part_folder\n"
        "with part_folder(sys.argv[1]) as part: print(part, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        part = Path(other.stdout.readline().strip())  # type: ignore[union-attr]
        os.utime(part, (1, 1))
        sweep(tmp_path)
        assert part.is_dir()
        other.kill()
        other.wait()
        sweep(tmp_path)
        assert names(tmp_path) == []


def test_a_part_with_our_own_number_that_we_do_not_write_is_an_earlier_processs(tmp_path: Path) -> None:
    """In a container the first process always has the same number."""
    stale = tmp_path / f".part-{host()}-{os.getpid()}-0"
    stale.mkdir()
    with part_folder(tmp_path) as part:
        assert names(tmp_path) == [part.name]


def test_two_processes_do_not_write_the_same_folder(tmp_path: Path) -> None:
    with folder_in_one_step(tmp_path / "new"):
        assert in_child(lambda: folder_in_one_step(tmp_path / "new").__enter__()) == 1
        assert in_child(lambda: folder_in_one_step(tmp_path / "other").__enter__()) == 0
    assert in_child(lambda: [part := folder_in_one_step(tmp_path / "x"), part.__enter__(), die()]) == -signal.SIGKILL
    (tmp_path / ".part-another_host-1-0" / "x").mkdir(parents=True)
    with folder_in_one_step(tmp_path / "x"):  # a dead one does not count, nor one of which nothing is known
        pass
    sweep(tmp_path)
    assert names(tmp_path) == [".part-another_host-1-0", "new", "x"]


def test_one_writer(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with one_writer(folder):
        assert in_child(lambda: one_writer(folder).__enter__()) == 1
        with pytest.raises(UserError, match=r"run: another process is writing there; wait for it to end, or choose"):
            one_writer(folder).__enter__()
        with one_writer(tmp_path / "another"):
            pass
            (folder / "f").write_text("x")
    assert in_child(lambda: [lock := one_writer(folder), lock.__enter__(), die()]) == -signal.SIGKILL
    killed_while_writing(folder / "f")
    with one_writer(folder):
        assert names(folder) == [LOCK, "f"]


def test_one_at_a_time_does_not_wait_for_itself_in_a_part_of_its_own(tmp_path: Path) -> None:
    with part_folder(tmp_path) as part, one_at_a_time(part), part_folder(part) as inner, one_at_a_time(inner):
        pass


def test_a_folder_in_which_nothing_came_about_goes_again(tmp_path: Path) -> None:
    with one_writer(tmp_path / "new"):
        pass
    (tmp_path / "old").mkdir()
    with one_writer(tmp_path / "old"):
        pass
    assert names(tmp_path) == ["old"] and names(tmp_path / "old") == [LOCK]


def test_a_lock_is_not_kept_by_the_children_of_a_killed_process(tmp_path: Path) -> None:
    ready = multiprocessing.get_context("fork").Event()

    def with_child() -> None:
        lock = one_writer(tmp_path)
        lock.__enter__()
        if os.fork() == 0:
            ready.set()
            time.sleep(3)
            os._exit(0)
        ready.wait()
        die()

    assert in_child(with_child) == -signal.SIGKILL
    with one_writer(tmp_path):
        pass


def test_a_folder_that_cannot_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="file: cannot be written to"):
        one_writer(tmp_path / "file").__enter__()

    def refuse(number: int) -> Callable[..., Any]:
        def fail(*_: Any, **__: Any) -> Any:
            raise OSError(number, os.strerror(number))

        return fail

    monkeypatch.setattr(files, "FileLock", refuse(errno.ENOLCK))  # a network disk without locks
    with one_writer(tmp_path / "run"):
        pass
    monkeypatch.setattr(files, "FileLock", refuse(errno.EROFS))
    with pytest.raises(OutputError, match=r"run: cannot be written to \(Read-only file system\)"):
        one_writer(tmp_path / "run").__enter__()


def test_folders_that_cannot_be_made_are_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    for folder in ("file", "file/below/it"):
        with pytest.raises(OutputError, match="file is not a folder; choose another one"):
            reject_unwritable(tmp_path / folder)
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="is not a folder"):
        reject_unwritable(tmp_path / "broken" / "x")
    reject_unwritable(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(files.os, "access", lambda *_: False)
    with pytest.raises(OutputError, match="no permission, or a read-only disk"):
        reject_unwritable(tmp_path / "new")


def test_errors_name_the_place_that_users_know(tmp_path: Path) -> None:
    def fail(part: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with part_folder(tmp_path) as part, pytest.raises(OutputError) as error:
        write_in_one_step(part / "a" / "b.txt", fail)
    assert str(error.value).startswith(f"{tmp_path / 'a' / 'b.txt'}: cannot be written (No space left on device)")


def test_a_new_folder_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with folder_in_one_step("new/one") as part:
        (part / "file").write_text("x")
    assert (tmp_path / "new" / "one" / "file").read_text() == "x"
