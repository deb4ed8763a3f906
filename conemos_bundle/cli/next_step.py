"""What to type next."""

from __future__ import annotations

import shlex


def say_next(*words: str) -> None:
    """Print the command that users most often want next, quoted as a shell needs it."""
    print(f"next: conemos {' '.join(word if word.isupper() else shlex.quote(word) for word in words)}", flush=True)
