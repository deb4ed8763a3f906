from __future__ import annotations

from conemos_bundle.paper.parts import Cell, Files, Picture, Section, Table, markdown, section_markdown


def test_markdown_escapes_what_would_end_a_cell() -> None:
    assert markdown(Table(["a", "b"], [["x|y", "1"]])) == "| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n"
    assert markdown(Table(["a", "b"], [["x", Cell("1|", is_bold=True, has_star=True)]], texts=2)).splitlines()[1:] == [
        "| --- | --- |",
        "| x | **1\\|** \\* |",
    ]


def test_a_sections_parts_in_markdown() -> None:
    parts = ["a <b> *c", Table(["m"], [["n"]]), Picture("f.png", "of [x]"), Files(["a.csv", "b.csv"])]
    assert section_markdown(Section("Head", parts)) == [
        "## Head",
        r"a &lt;b&gt; \*c",
        "| m |\n| --- |\n| n |",
        "![of \\[x\\]](f.png)\n\n*of \\[x\\]*",
        "Numbers: [a.csv](a.csv), [b.csv](b.csv)",
    ]
