"""What the package warns of while a command runs, for its report."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        if logging.lastResort is not None and not logging.getLogger().handlers:
            logging.lastResort.handle(record)  # it prints only where there is no handler at all


@contextmanager
def kept_warnings() -> Iterator[list[str]]:
    """A list that gets each warning of the package's loggers; they are printed as ever.

    Example::

        >>> with kept_warnings() as lines:
        ...     logging.getLogger("conemos_bundle.volumes").warning("a.nii.gz: odd")
        >>> lines
        ['a.nii.gz: odd']
    """
    keeper, logger = _Keeper(), logging.getLogger("conemos_bundle")
    logger.addHandler(keeper)
    try:
        yield keeper.lines
    finally:
        logger.removeHandler(keeper)
