"""What the Model Zoo and `monai.bundle` ask of a packed bundle, done to one, each answer in a line.

    python tests/integration/verify_zoo.py RUN_OR_BUNDLE --schema meta_schema_20240725.json

Packs a finished run (or takes this repository's `models/`) with everything on, as a clone of the zoo would hold it;
then: metadata against the schema, network on a fake input, TorchScript, code format, JSON format, file sizes, the zoo's
unit tests (one process, and two by torchrun), download from a server on this machine, load, create_workflow.
Format tools are taken from --tools, the folder of an environment's programs with black, isort and flake8 (with
pep8-naming, flake8-bugbear and flake8-comprehensions); without it, that check is left out, and said so.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fire
import torch
from conemos_bundle.cli import pack
from conemos_bundle.utils.paths import bundle_folder

# the zoo's setup.cfg
FLAKE8 = ["--select=B,C,E,F,N,P,T4,W,B9", "--ignore=E203,E501,E741,W503,W504,C408,N812,B023", "--max-line-length=120"]
UTILS = '''"""Stands in for the zoo's ci/unit_tests/utils.py, with two processes where there is no GPU."""

import subprocess
import sys

from monai.bundle import ConfigParser


def export_config_and_run_mgpu_cmd(config_file, meta_file, logging_file, override_dict, output_path, ngpu=2):
    parser = ConfigParser()
    parser.read_config(config_file)
    parser.update(pairs=override_dict)
    ConfigParser.export_config_file(parser.config, output_path, indent=4)
    files = ["--config_file", output_path, "--meta_file", meta_file, "--logging_file", logging_file]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.check_call([*torchrun, "-m", "monai.bundle", "run", *files])
'''


def called(command: list[str], folder: Path, bundle: Path) -> str:
    """Run a command in a folder, the bundle first on Python's path; its output."""
    environment = {**os.environ, "PYTHONPATH": str(bundle), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    return done.stdout + done.stderr


def format_of(bundle: Path, tools: Path) -> str:
    """The zoo's black, isort and flake8 on a tree like its own."""
    models = bundle.parent
    (models.parent / ".isort.cfg").write_text("[settings]\nknown_first_party=models\nprofile=black\nline_length=120\n")
    black = ["black", "--line-length=120", "--skip-magic-trailing-comma", "--check"]
    for program, *options in (black, ["isort", "--check"], ["flake8", *FLAKE8]):
        called([str(tools / program), *options, "models", "ci"], models.parent, bundle)
    return "black, isort and flake8 as the zoo calls them: nothing to change"


def files_of(bundle: Path) -> str:
    """JSON with four blanks, nothing over 1 MiB that large_files.yml does not name."""
    for file in bundle.rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        if text != json.dumps(json.loads(text), indent=4, ensure_ascii=False) + "\n":
            raise RuntimeError(f"{file}: not indented by 4")
    named = re.findall(r"path: (\S+)", (bundle / "large_files.yml").read_text(encoding="utf-8"))
    large = [file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.stat().st_size > 1024 * 1024]
    if sorted(named) != sorted(large):
        raise RuntimeError(f"large files {large}, named {named}")
    return f"JSON indented by 4; over 1 MiB, and in large_files.yml: {', '.join(large)}"


def served(bundle: Path, work: Path) -> str:
    """`monai.bundle download` from a server on this machine, then `load` and `create_workflow`."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=bundle.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{bundle.name}.zip"
        options = ["--name", bundle.name, "--url", url, "--bundle_dir", str(work)]
        called([sys.executable, "-m", "monai.bundle", "download", *options], work, work)
        server.shutdown()
    # another process, in another folder, that has no conemos_bundle but that which came over the network
    code = f"""
import sys
from monai.bundle import create_workflow, load
sys.path = [path for path in sys.path if path != {str(bundle_folder())!r}]
root = {str(work / bundle.name)!r}
options = dict(source="github", workflow_type="inference", args_file={{"bundle_root": root}})
network = load({bundle.name!r}, bundle_dir={str(work)!r}, **options)
assert sys.modules["conemos_bundle"].__file__.startswith(root), sys.modules["conemos_bundle"]
workflow = create_workflow(config_file=root + "/configs/inference.json", workflow_type="inference", bundle_root=root)
print(type(network).__name__, workflow.check_properties())
"""
    elsewhere = work / "elsewhere"
    elsewhere.mkdir()
    answer = called([sys.executable, "-c", code], elsewhere, elsewhere).strip().splitlines()
    said = next(line for line in answer if line.endswith("[]"))
    return f"downloaded from 127.0.0.1; load, create_workflow and its check_properties(): {said}"


def main(run: str = "", schema: str = "", tools: str = "", formats: str = "ts,pt2,onnx") -> None:
    """Verify.

    Args:
        run: a finished run; default: the model in this repository.
        schema: the metadata's JSON schema; without it, MONAI fetches it.
        tools: folder of black, isort and flake8.
        formats: exports to pack.
    """
    source = Path(run) if run else bundle_folder() / "models"
    failed = False
    with tempfile.TemporaryDirectory() as temporary:
        zoo, work = Path(temporary, "zoo"), Path(temporary, "work")
        work.mkdir()
        bundle = zoo / "models" / "conemos_tried"
        tests = zoo / "ci" / "unit_tests"
        url = "https://example.org/weights"
        pack(str(source), str(bundle), archive=True, formats=formats, weights_url=url, unit_tests=str(tests))
        (tests / "utils.py").write_text(UTILS)
        configs = bundle / "configs"
        metadata, inference = str(configs / "metadata.json"), str(configs / "inference.json")
        bundle_command = [sys.executable, "-m", "monai.bundle"]
        both = ["--meta_file", metadata, "--config_file", inference, "--bundle_root", str(bundle)]
        weights = ["--ckpt_file", str(bundle / "models" / "model.pt"), "--filepath", str(work / "verify_model.ts")]

        def bundle_says(command: str, options: list[str], expected: str) -> str:
            output = called([*bundle_command, command, *options], work, bundle)
            if expected not in output:
                raise RuntimeError(output[-2000:])
            return expected

        against = [
            "--meta_file",
            metadata,
            "--filepath",
            str(Path(schema).absolute() if schema else work / "schema.json"),
        ]
        checks: dict[str, Callable[[], str]] = {
            "verify_metadata": partial(bundle_says, "verify_metadata", against, "metadata is verified with no error"),
            "verify_net_in_out": partial(
                bundle_says, "verify_net_in_out", ["network_def", *both], "data shape of network is verified"
            ),
            "ckpt_export": partial(bundle_says, "ckpt_export", ["network_def", *both, *weights], "exported to file"),
            "format": partial(format_of, bundle, Path(tools).absolute()) if tools else lambda: "LEFT OUT: no --tools",
            "files": partial(files_of, bundle),
            "unit tests": lambda: called(
                [sys.executable, f"ci/unit_tests/test_{bundle.name}.py"], zoo, bundle
            ).splitlines()[-3],
            "unit tests, two processes": lambda: called(
                [sys.executable, f"ci/unit_tests/test_{bundle.name}_dist.py"], zoo, bundle
            ).splitlines()[-3],
            "download": partial(served, bundle, work),
        }
        for name, check in checks.items():
            try:
                print(f"{name}: {check()}", flush=True)
            except Exception as error:  # a failed check is shown, and the others go on
                failed = True
                print(f"{name}: FAILED: {error}", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    torch.set_num_threads(1)
    fire.Fire(main)
