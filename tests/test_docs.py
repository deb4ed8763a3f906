"""The pages of docs/: all on the site, and no link to nowhere."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from functools import partial
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from conemos_bundle import cli
from conemos_bundle.cli.app import COMMANDS, call_of
from conemos_bundle.utils.config_files import check_settings, overlay_files

ROOT = Path(__file__).parents[1]
PAGES = sorted(file.relative_to(ROOT).as_posix() for file in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
MKDOCS = [ROOT / ".venv-docs" / "bin" / "python", *([Path(sys.executable)] if find_spec("mkdocs") else [])]


def _anchors(text: str) -> set[str]:
    """What GitHub and MkDocs call the headings."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+?) *$", prose, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", each).strip().lower()) for each in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if ":" in path:
            continue
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_a_page_names_are_there(page: str) -> None:
    for name, test in re.findall(r"`([\w/]+\.py)::(\w+)", (ROOT / page).read_text(encoding="utf-8")):
        files = [file for file in (ROOT / "tests").rglob("*.py") if f"/{file.as_posix()}".endswith(f"/{name}")]
        assert any(f"def {test}(" in file.read_text(encoding="utf-8") for file in files), f"{name}::{test}"


def test_every_page_is_in_the_navigation_once() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = re.findall(r"[\w/-]+\.md", str(config["nav"]))
    pages = {Path(page).name for page in PAGES if page.startswith("docs/")}
    assert "index.md" in pages and len(pages) > 12
    assert sorted(each for each in listed if "/" not in each) == sorted(pages - {"README.md"})  # model_card.md shows it
    notebooks = {f"tutorials/{file.stem}.md" for file in (ROOT / "examples").glob("*.ipynb")}
    assert len(notebooks) == 2 and {each for each in listed if each.startswith("tutorials/")} == notebooks
    assert all((ROOT / "docs" / each).is_file() for each in {*listed} - notebooks)


def test_every_command_is_on_the_pages_that_list_them() -> None:
    python, words = ((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8") for page in ("api", "command_line"))
    assert set(re.findall(r"::: conemos_bundle\.cli\.\w+\.(\w+)", python)) == set(cli.__all__)
    assert [name for name in COMMANDS if f"`conemos {name}" not in words] == []


def _commands() -> list[str]:
    """Every line of a page's blocks that begins with ``conemos``; those with [optional] words or … are patterns."""
    found: list[str] = []
    for page in PAGES:
        for block in re.findall(r"^```[a-z]*\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE):
            lines = [line.split("  #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
            found += [line for line in lines if line.startswith("conemos ") and not re.search(r"\[-|…|\.\.\.", line)]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("line", _commands())
def test_each_command_of_a_page_can_be_typed(line: str) -> None:
    call = call_of(shlex.split(line, comments=True)[1:])
    assert isinstance(call, partial)
    bound = inspect.signature(call.func).bind(*call.args, **call.keywords).arguments
    overlays = bound.get("overlay", []) if call.func is cli.train else ["evaluate", "add_region"]
    check_settings(list(bound.get("options", {})) + list(bound.get("settings", {})), overlay_files(overlays))


@pytest.mark.skipif(not MKDOCS[-1].is_file(), reason="MkDocs is not installed: make docs")
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [str(MKDOCS[-1]), "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr[-2000:]
    for file in tmp_path.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        assert not re.search(
            r'<(?:script|img|iframe)[^>]+src="https?:|<link rel="stylesheet"[^>]+href="https?:', text
        ), file
    _check_tutorials(tmp_path)
    shown = (tmp_path / "api" / "index.html").read_text(encoding="utf-8")
    assert all(f">{name}</span>" in shown for name in ("Predictor", "read_datalist", "FiLMUNet", "RegionLoss", "sd95"))
    assert "Example::" not in shown and "Model Overview" in (tmp_path / "model_card" / "index.html").read_text("utf-8")


def _check_tutorials(site: Path) -> None:
    """The notebooks' texts, code, outputs and pictures are pages, which link to each other and are linked to."""
    pages = {}
    for notebook in sorted((ROOT / "examples").glob("*.ipynb")):
        text = (site / "tutorials" / notebook.stem / "index.html").read_text(encoding="utf-8")
        pages[notebook.stem] = text
        assert re.search(rf'href="https://[^"]+/blob/main/examples/{notebook.name}"', text)
        assert f'href="tutorials/{notebook.stem}/"' in (site / "index.html").read_text(encoding="utf-8")
        pictures = re.findall(rf'src="(\.\./{notebook.stem}_files/[^"]+\.png)"', text)
        assert len(pictures) == 1 and (site / "tutorials" / notebook.stem / pictures[0]).is_file()
        assert "<style" not in text.split("<article")[1].split("</article>")[0]
        words = unescape(re.sub(r"<[^>]+>", "", text))
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        outputs = [its for its in outputs if not {"image/png", "text/html"} & its.get("data", {}).keys()]
        printed = ["".join(its["text"] if "text" in its else its["data"]["text/plain"]) for its in outputs]
        assert text.count('<div class="output highlight">') == len(printed)
        code = [line for cell in cells if cell["cell_type"] == "code" for line in cell["source"]]
        for line in [*code, *"\n".join(printed).splitlines()]:
            assert line.strip().removeprefix("!") in words, line
        assert "\n!" not in words
    first, second = pages["segment_on_demand"], pages["train_on_partial_annotations"]
    assert 'href="../train_on_partial_annotations/">train on your partial annotations' in first
    assert ">annotated</td>" in second.replace("\n", "") and 'class="dataframe"' not in second
