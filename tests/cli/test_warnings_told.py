from __future__ import annotations

import logging

import pytest
from conemos_bundle.cli.warnings_told import kept_warnings


def test_warnings_are_kept_and_still_printed_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as on the command line: pytest has some
    logger = logging.getLogger("conemos_bundle.volumes.geometry")
    with kept_warnings() as lines:
        logger.warning("odd")
        logger.info("fine")
        logging.getLogger("other").warning("of somebody else")
    logger.warning("later")
    assert lines == ["odd"]
    assert capsys.readouterr().err.splitlines() == ["odd", "of somebody else", "later"]
