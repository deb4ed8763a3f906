from __future__ import annotations

from conemos_bundle.paper.methods import CONEMOS, OTHERS_OF_THE_PAPER, in_order, styles


def test_the_papers_order_then_others_and_conemos_last() -> None:
    shuffled = ["CoNeMOS", "Zeta", "DoDNet", "Mean teacher", "PSL loss", "DoDNet", "Individual networks"]
    assert in_order(shuffled) == ["Individual networks", "PSL loss", "DoDNet", "Mean teacher", "Zeta", "CoNeMOS"]


def test_no_two_methods_look_alike_and_each_looks_the_same_everywhere() -> None:
    everything = styles([*OTHERS_OF_THE_PAPER, "Mean teacher", CONEMOS])
    assert len({style.color for style in everything.values()}) == len({s.marker for s in everything.values()}) == 8
    assert styles(["DoDNet", CONEMOS]) == {name: everything[name] for name in ("DoDNet", CONEMOS)}
    assert max(everything, key=lambda name: everything[name].width) == CONEMOS
