"""What MkDocs needs to know of this repository (``mkdocs.yml``): ``docs/`` is read on GitHub as well as on the site."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import normpath
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
EXAMPLE = re.compile(r"^( *)Examples?::?[ ]*\n(?:[ ]*\n)?(?=\1 +>>>)", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Let links to what is not on the site, such as ``../configs/train.json`` or a folder, go to the repository."""
    here = f"docs/{page.file.src_uri}"

    def resolved(link: re.Match[str]) -> str:
        path = normpath(f"{here}/../{link[2]}")
        target = ROOT / path
        is_on_site = path.startswith("docs/") and target.is_file() and path != "docs/README.md"
        if ":" in link[2] or is_on_site or not target.exists():
            return link[0]  # what exists nowhere is left for MkDocs to refuse
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
