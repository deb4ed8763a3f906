"""Kill each command at file-system events and at random moments, run it again, and count what did not survive.

    python scripts/kill_matrix.py WORK [--only train,pack] [--kills 40] [--seed 0] [--table kills.csv]

WORK is a folder for the fixtures, which a later call uses again, and for the trials. For each command the table counts

- tried: kills. Half of them are SIGKILL at a file-system event (a file opened to be written, made, renamed, removed),
  in child processes too; the others SIGKILL, SIGTERM and SIGINT (to the whole group, as Ctrl-C) at random moments;
- survived: right after the kill all final files were whole; the same command, run again, ended as if it had never been
  killed, and left what a run that nobody disturbs leaves;
- blocked: the second run failed. Where it said that the result exists, and it did, whole, it is not blocked;
- lost: a final file was cut or differed, then or after the second run, or training began before its last epoch;
- strays: files and folders that the second run left and an undisturbed run does not;
- orphans: processes that still ran ten seconds after the command had ended (workers look for it when they have begun);
- untidy: Ctrl-C that ended in more than our line.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from kill_commands import all_commands, fixtures
from kill_contents import contents, final
from kill_runs import Command, hook_into_children, prepared, run

COLUMNS = ("tried", "survived", "blocked", "lost", "strays", "orphans", "untidy")


def epochs(folder: Path) -> int:
    """How many epochs the checkpoint of a training holds."""
    files = [folder / "run" / "checkpoint.pt", folder / "run" / "training" / "checkpoint.pt"]
    return max(torch.load(f, map_location="cpu", weights_only=True)["epoch"] if f.is_file() else 0 for f in files)


def trial(command: Command, folder: Path, before: dict, wanted: dict, counts: Counter, **kill: Any) -> list[str]:
    """Kill, run again, compare, count; what was wrong."""
    wrong: list[tuple[str, str]] = []
    prepared(command, folder)
    killed = run(command, folder, **kill)
    wrong += [("orphans", words) for words in killed.orphans]
    if kill.get("number") == signal.SIGINT and killed.code:
        lines = [line for line in killed.told.splitlines() if line.strip()]
        if "Traceback" in killed.told or not lines or not lines[-1].startswith("error: interrupted"):
            wrong.append(("untidy", f"{killed.code}: {lines[-1:]}"))
    for name, content in final(contents(folder)).items():
        same = content in (wanted.get(name), before.get(name)) or command.grows or Path(name).name in command.differs
        if content.startswith("BROKEN") or not same:
            wrong.append(("lost", f"{name} after the kill: {content}"))
    done = epochs(folder)
    again = run(command, folder)
    wrong += [("orphans", words) for words in again.orphans]
    found = contents(folder)

    def as_wanted(name: str) -> bool:
        if command.dated and name.startswith(command.dated):
            return not found.get(name, "").startswith("BROKEN")
        return found.get(name) == wanted.get(name) or (name in found and Path(name).name in command.differs)

    differing = [name for name in wanted if not as_wanted(name)]
    finished = again.code == 1 and any(word in again.told for word in ("exists", "already")) and not differing
    if again.code and not finished:
        wrong.append(("blocked", f"{again.code}: {again.told.strip().splitlines()[-1:]}"))
    else:
        wrong += [("lost", f"{name} after the second run") for name in differing]
        wrong += [("strays", name) for name in found if name not in wanted and not as_wanted(name)]
        if command.grows and not finished and done > 0 and f"resumed after epoch {done} " not in again.told:
            wrong.append(("lost", f"did not go on after epoch {done}"))
    counts.update({"tried": 1, "survived": not wrong, **dict.fromkeys({kind for kind, _ in wrong}, 1)})
    shutil.rmtree(folder)
    for suffix in (".tmp", ".out", ".events"):
        place = folder.with_suffix(suffix)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    how = " ".join(f"{key} {value:.3g}" for key, value in kill.items())
    return [f"{kind} ({how}): {what}" for kind, what in wrong]


def try_command(name: str, command: Command, work: Path, kills: int, chance: random.Random) -> Counter:
    """All trials of a command."""
    shutil.rmtree(work / name, ignore_errors=True)
    before = contents(prepared(command, work / name / "undisturbed"))
    whole = run(command, work / name / "undisturbed")
    if whole.code:
        raise SystemExit(f"{name} fails without any kill:\n{whole.told}")
    wanted, events = contents(work / name / "undisturbed"), (work / name / "undisturbed.events").stat().st_size
    plans: list[dict[str, Any]] = []
    for index, at in enumerate(sorted(chance.sample(range(1, events + 1), min(events, kills // 2)))):
        plans.append({"at": at, "main": bool(index % 2)})
    while len(plans) < kills:
        number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[len(plans) % 3]
        plans.append({"after": chance.uniform(0, 1.02 * whole.seconds), "number": number})
    counts: Counter = Counter(dict.fromkeys(COLUMNS, 0))
    notes = []
    for index, plan in enumerate(plans):
        notes += trial(command, work / name / f"trial{index}", before, wanted, counts, **plan)
    print(f"{name}: {whole.seconds:.1f} s, {events} events; {dict(counts)}", flush=True)
    for note in sorted(notes):
        print(f"    {note}", flush=True)
    return counts


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", default="", help="commands, separated by commas")
    parser.add_argument("--kills", type=int, default=40, help="of each command; fewer of slow ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="CSV to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = options.work.absolute()
    hook_into_children(work)
    every = all_commands(fixtures(work))
    rows = []
    for name in options.only.split(",") if options.only else every:
        kills = max(1, round(options.kills * every[name].fraction))
        counts = try_command(name, every[name], work, kills, random.Random(f"{options.seed} {name}"))
        rows.append({"command": name, **{column: counts[column] for column in COLUMNS}})
    total = {"command": "all", **{column: sum(row[column] for row in rows) for column in COLUMNS}}
    print(total)
    if options.table:
        with options.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(total), lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows, total])
    sys.exit(total["tried"] != total["survived"])


if __name__ == "__main__":
    main()
