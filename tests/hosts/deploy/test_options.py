from __future__ import annotations

import pytest
from conemos_bundle.errors import UserError
from conemos_bundle.hosts.deploy.options import parse

NEEDED = ["-i", "in", "-o", "out", "-m", "model.ts"]


def test_options_and_defaults() -> None:
    options = parse([*NEEDED, "-r", "a,b", "--series", "1.2"])
    assert (options.input, options.output, options.model) == ("in", "out", "model.ts")
    assert (options.regions, options.series, options.device, options.log_level) == ("a,b", "1.2", None, "ERROR")


def test_the_environment_stands_behind_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INPUT", "OUTPUT", "MODEL"):
        monkeypatch.setenv(f"HOLOSCAN_{name}_PATH", name.lower())
    monkeypatch.setenv("CONEMOS_REGIONS", "brain")
    options = parse(["-i", "other"])
    assert (options.input, options.output, options.model, options.regions) == ("other", "output", "model", "brain")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-i", "in", "-o", "out"], "--model is missing"),
        (
            [*NEEDED, "--nonsense"],
            "unrecognized arguments: --nonsense; see python -m conemos_bundle.hosts.deploy --help",
        ),
        ([*NEEDED, "-l", "LOUD"], "invalid choice: 'LOUD'"),
        (["-i"], "expected one argument"),
    ],
)
def test_wrong_options_are_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        parse(arguments)
    assert words in str(error.value) and "\n" not in str(error.value)
