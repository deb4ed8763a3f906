"""What MkDocs needs to know of this repository (``mkdocs.yml``).

``docs/`` is read on GitHub as well as on the site; the notebooks of ``examples/``, as they were run, are its tutorials.
"""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

import griffe
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
NOTEBOOKS = {f"tutorials/{file.stem}.md": file for file in sorted((ROOT / "examples").glob("*.ipynb"))}
PLAIN_TABLE = re.compile(r"<style scoped>.*?</style>\n?| border=\"1\" class=\"dataframe\"", re.DOTALL)
# nbconvert indents outputs, which then run into one another
OUTPUTS = """{% extends "markdown/index.md.j2" %}
{% macro fenced(text) %}

```{.text .output}
{{ text | strip_ansi | trim("\n") }}
```

{% endmacro %}
{% block stream %}{{ fenced(output.text) }}{% endblock %}
{% block data_text scoped %}{{ fenced(output.data["text/plain"]) }}{% endblock %}
"""
SHELL = re.compile(r"^```python\n!", re.MULTILINE)
EXAMPLE = re.compile(r"^( *)Examples?::?[ ]*\n(?:[ ]*\n)?(?=\1 +>>>)", re.MULTILINE)


def on_files(files: Any, *, config: Any) -> Any:
    """Add a page for each notebook, with its pictures."""
    for page, notebook in NOTEBOOKS.items():
        folder = {"output_files_dir": f"{notebook.stem}_files"}
        text, resources = MarkdownExporter(raw_template=OUTPUTS).from_filename(str(notebook), folder)
        for name, picture in resources["outputs"].items():
            files.append(File.generated(config, f"tutorials/{name}", content=picture))
        files.append(File.generated(config, page, content=_tutorial(text, notebook, config.repo_url)))
    return files


def _tutorial(text: str, notebook: Path, repository: str) -> str:
    """A notebook's Markdown, its tables and commands as on other pages, and a line that says where it is from."""
    text = text.replace("![png](", "![Picture that the cell above draws](")
    text = SHELL.sub("```console\n$ ", PLAIN_TABLE.sub("", text))
    title, rest = text.strip().split("\n", 1)
    source = f"{repository}/blob/main/examples/{notebook.name}"
    return f"{title}\n\n*This page is [a notebook]({source}) of the repository, as it was run.*\n{rest}\n"


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Let links to what is not on the site, such as ``../configs/train.json`` or a folder, go to the repository."""
    page_uri = page.file.src_uri
    here = f"examples/{NOTEBOOKS[page_uri].name}" if page_uri in NOTEBOOKS else f"docs/{page_uri}"

    def resolved(link: re.Match[str]) -> str:
        path = normpath(f"{here}/../{link[2]}")
        target = ROOT / path
        is_on_site = path.startswith("docs/") and target.is_file() and path != "docs/README.md"
        if ":" in link[2] or is_on_site or not target.exists():
            return link[0]  # what exists nowhere is left for MkDocs to refuse
        for tutorial, notebook in NOTEBOOKS.items():
            if target == notebook:
                return f"{link[1]}{relpath(tutorial, dirname(page_uri) or '.')}{link[3]}"
        if path == "docs/README.md":
            return f"{link[1]}model_card.md{link[3]}"
        return f"{link[1]}{config.repo_url}/{'tree' if target.is_dir() else 'blob'}/main/{path}{link[3]}"

    return LINK.sub(resolved, markdown)


class Docstrings(griffe.Extension):
    """Docstrings as an editor shows them, in the words that Griffe reads."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """``Example::`` is the section of examples; what ``__init__`` says of itself is not for users."""
        if obj.name == "__init__" and obj.is_function:
            obj.docstring = None
        elif obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(r"\1Examples:\n", obj.docstring.value)

    def on_class_members(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        """Attributes that a docstring lists have no types here: Griffe gives one's type to those after it as well."""
        if cls.docstring is not None and "\nAttributes:\n" in cls.docstring.value:
            for member in cls.members.values():
                if isinstance(member, griffe.Attribute) and "property" not in member.labels:
                    member.annotation = None
