"""Write the lock files in ``requirements/``: every package that is installed anywhere, its version, its hashes.

    make lock                       # after a change of pyproject.toml or of requirements/*.in: the other versions stay
    make lock UPGRADE=--upgrade     # the newest versions that those allow

uv resolves them, for all systems and for Python 3.10 to 3.13 at once. PyTorch gets files of its own: its wheel for
Linux on PyPI needs some GB of CUDA libraries (``cuda.txt``), a CPU wheel none. The hashes of CPU wheels, which PyPI
has not, are in ``torch_cpu.txt``, by hand.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
DEPLOY = ["--constraint", "requirements/.torch", "--override", "requirements/deploy_left_out.in"]
# inputs of each lock, and the oldest Python that it is for; later ones keep to the versions of development.txt
LOCKS = {
    "development": (["pyproject.toml", "requirements/build.in"], "3.10", ["--all-extras"]),
    "runtime": (["pyproject.toml"], "3.10", ["--constraint", "requirements/.development"]),
    "deploy": (["pyproject.toml", "requirements/deploy.in"], "3.10", DEPLOY),
    "label": (["requirements/label.in"], "3.11", []),
    "monailabel": (["requirements/monailabel.in"], "3.11", ["--no-deps"]),
    "release": (["requirements/release.in"], "3.10", []),
    "docs": (["requirements/docs.in"], "3.11", []),
}
BUILD = ("setuptools", "wheel")
CUDA = ("nvidia-", "cuda-", "triton")


def blocks(text: str) -> list[str]:
    """The parts of a lock, one per package."""
    return [block for block in re.split(r"(?m)^(?=[a-z0-9])", text) if "==" in block]


def name(block: str) -> str:
    """The package of a part of a lock."""
    return block.split("==")[0]


def only_for_torch(block: str) -> bool:
    """Whether a package is one of CUDA's that nothing but PyTorch and the others of them asks for."""
    asking = re.findall(r"# +(?:via )?([a-z0-9][^\s(]*)", block)
    return name(block).startswith(CUDA) and all(each.startswith((*CUDA, "torch", "via")) for each in asking)


def compile_lock(lock: str, upgrade: list[str]) -> list[str]:
    """One lock's parts, by uv."""
    inputs, python, options = LOCKS[lock]
    before = FOLDER / f".{lock}.txt"  # versions that uv keeps to
    known = [lock] if (FOLDER / f"{lock}.txt").is_file() else ["development"]
    known += ["build", "torch", "cuda"] if "pyproject.toml" in inputs else []
    texts = [FOLDER / f"{each}.txt" for each in known if (FOLDER / f"{each}.txt").is_file()]
    before.write_text("".join(text.read_text(encoding="utf-8") for text in texts), encoding="utf-8")
    command = [sys.executable, "-m", "uv", "pip", "compile", "--universal", "--python-version", python, "--no-header"]
    command += ["--quiet", "--generate-hashes", "--fork-strategy", "fewest", "--output-file", str(before)]
    subprocess.run([*command, *options, *upgrade, *inputs], cwd=ROOT, check=True)
    found = blocks(before.read_text(encoding="utf-8"))
    before.unlink()
    return found


def write(lock: str, found: list[str]) -> None:
    """One file."""
    head = "# Made by `make lock`; not by hand.\n"
    (FOLDER / f"{lock}.txt").write_text(head + "".join(found), encoding="utf-8")


def main() -> None:
    """All locks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    everything = compile_lock("development", upgrade)
    versions = [(name(block), f"{block.splitlines()[0].rstrip(chr(92))}\n") for block in everything]
    (FOLDER / ".development").write_text("".join(line for _, line in versions), encoding="utf-8")
    (FOLDER / ".torch").write_text("".join(line for each, line in versions if each == "torch"), encoding="utf-8")
    write("build", [block for block in everything if name(block) in BUILD])
    write("torch", [block for block in everything if name(block) == "torch"])
    write("cuda", [block for block in everything if name(block).startswith(CUDA)])
    for lock in LOCKS:
        found = everything if lock == "development" else compile_lock(lock, upgrade)
        if lock in ("development", "runtime", "deploy"):  # installed beside build.txt, torch.txt and cuda.txt
            found = [block for block in found if name(block) not in (*BUILD, "torch") and not only_for_torch(block)]
        write(lock, found)
        print(f"requirements/{lock}.txt: {len(found)} packages", flush=True)
    for file in (FOLDER / ".development", FOLDER / ".torch"):
        file.unlink()


if __name__ == "__main__":
    main()
