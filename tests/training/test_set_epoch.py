from __future__ import annotations

from conemos_bundle.data.sampling import RegionSampler, Sample
from conemos_bundle.training.set_epoch import SetEpoch
from ignite.engine import Engine


def sampler() -> RegionSampler:
    return RegionSampler([[0], [0, 1], [1]], num_regions=2, num_samples=20)


def drawn(max_epochs: int, done: int = 0) -> list[list[Sample]]:
    """The draws of each epoch of a training, or of the rest of them after ``done``."""
    used, draws = sampler(), []

    def step(engine: Engine, batch: int) -> None:
        if (engine.state.iteration - 1) % 5 == 0:
            draws.append(list(used))

    engine = Engine(step)
    SetEpoch(used).attach(engine)
    if done:
        engine.load_state_dict({"iteration": 5 * done, "max_epochs": max_epochs, "epoch_length": 5})
    engine.run(range(5), max_epochs=max_epochs)
    return draws


def test_each_epoch_has_the_draws_of_its_number() -> None:
    expected = []
    for epoch in (1, 2, 3):
        alone = sampler()
        alone.set_epoch(epoch)
        expected.append(list(alone))
    draws = drawn(3)
    assert draws == expected
    assert draws[0] != draws[1] != draws[2]
    assert drawn(3, done=1) == expected[1:]
