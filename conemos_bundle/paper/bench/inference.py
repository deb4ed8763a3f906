"""Inference of all K regions by each method, and of one more region of a scan that is encoded already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from conemos_bundle.inferers import infer
from conemos_bundle.inferers.encode_once import EncodeOnce
from conemos_bundle.paper.bench.groups import Call, Group, synchronized
from conemos_bundle.paper.bench.networks import METHODS, OTHERS, PEERS
from conemos_bundle.paper.bench.setup import Setup
from conemos_bundle.volumes.geometry import memory_of_machine
from torch import nn

REGIONS = (1, 2, 5, 20, 100)
REGIONS_QUICK = (1, 5, 20)
TENSORS = 4  # of the finest level, in float32, that a decoder holds at once
CONDITIONED_DECODERS = (METHODS["CoNeMOS"], METHODS["CoNeMOS, N = 7"])
CONDITIONED = ("DoDNet", "CoNeMOS", "CoNeMOS, N = 7")


def image_of(setup: Setup) -> torch.Tensor:
    """A random image ``(1, 1, D, H, W)``."""
    return torch.rand(1, 1, *[setup.size] * 3, device=setup.device)


def build_inference(
    setup: Setup, dtype: str, build: Callable[[Setup, int], nn.Module], num_regions: int, asked: int | None = None
) -> Call:
    """One call of a network of ``num_regions`` for the first ``asked`` of them; None: it cannot be asked.

    Raises:
        MemoryError: it would take more than half of the main memory; the system might end the process.
    """
    if build in CONDITIONED_DECODERS and TENSORS * 4 * setup.channels[0] * setup.size**3 * (asked or 1) > (
        memory_of_machine() / 2
    ):
        raise MemoryError
    network, image = build(setup, num_regions).to(setup.device).eval(), image_of(setup)
    if asked is not None:  # as the predictor asks it
        network = EncodeOnce(network, most_bytes=0)
    regions = None if asked is None else torch.arange(asked, device=setup.device)

    @torch.inference_mode()
    def run() -> None:
        infer(image, network, regions, bfloat16=dtype == "bfloat16")

    return synchronized(run, setup.device)


def build_second_region(setup: Setup, dtype: str, method: str) -> Call:
    """Decoding one region of a scan whose features are there."""
    network = METHODS[method](setup, 5).to(setup.device).eval()
    regions = torch.tensor([1], device=setup.device)

    def autocast() -> torch.autocast:
        return torch.autocast(torch.device(setup.device).type, torch.bfloat16, enabled=dtype == "bfloat16")

    with torch.inference_mode(), autocast():
        features = network.encode(image_of(setup))  # type: ignore[operator]

    @torch.inference_mode()
    def run() -> None:
        with autocast():
            network.decode(features, regions).float()  # type: ignore[operator]

    return synchronized(run, setup.device)


def one_pass(setup: Setup, dtype: str, num_regions: int) -> dict[str, Callable[[], Call]]:
    """The peers' networks, with an output per region."""
    return {name: partial(build_inference, setup, dtype, build, num_regions) for name, build in OTHERS.items()}


def inference_groups(setup: Setup) -> Iterator[Group]:
    """A group per number of regions and dtype, and one of a second region."""
    for dtype in setup.dtypes:
        for count in REGIONS_QUICK if setup.quick else REGIONS:
            variants = one_pass(setup, dtype, count)
            for name, build in METHODS.items():
                variants[name] = partial(build_inference, setup, dtype, build, count, count)
            title = f"Inference of {count} region{'s' * (count > 1)}, {dtype}"
            yield Group("inference", title, variants, PEERS, dtype, count)
        variants = one_pass(setup, dtype, 1)
        variants.update({name: partial(build_second_region, setup, dtype, name) for name in CONDITIONED})
        yield Group("inference", f"A second region of an encoded scan, {dtype}", variants, PEERS, dtype)
