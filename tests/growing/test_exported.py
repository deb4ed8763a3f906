"""Exported, the old regions of a grown model are those of the exported model before, to the bit."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from conemos_bundle.growing.model import read_growing
from conemos_bundle.hosts.bundle.exports import export_onnx

ASKED = ([0], [1], [1, 0], [0, 1])  # of the run's two regions
SHAPES = (24, 24, 16), (20, 18, 17)


@torch.no_grad()
def test_torchscript(run: Path, grown: Path) -> None:
    before, after = (torch.jit.script(read_growing(model).network.eval()) for model in (run, grown))
    used = torch.get_num_threads()
    try:
        for threads, asked in itertools.product((1, 2), ASKED[1:3]):
            torch.set_num_threads(threads)
            image, regions = torch.rand(1, 1, 20, 18, 17), torch.tensor(asked)
            expected = before(image, regions)
            assert torch.equal(after(image, regions), expected)
            assert torch.equal(after(image, torch.tensor([2, *asked]))[:, 1:], expected)
    finally:
        torch.set_num_threads(used)


@pytest.mark.integration  # two exports take half a minute
def test_onnx(run: Path, grown: Path, tmp_path: Path) -> None:
    files = []
    for model in (run, grown):
        files.append(tmp_path / f"{len(files)}.onnx")
        export_onnx(read_growing(model).network.eval(), files[-1])
    for threads in (1, 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        before, after = (onnxruntime.InferenceSession(str(file), options) for file in files)
        for shape, asked in itertools.product(SHAPES, ASKED):
            image, names = np.random.default_rng(0).random((1, 1, *shape), dtype=np.float32), ["pred"]
            expected = before.run(names, {"image": image, "regions": np.array(asked)})[0]
            assert np.array_equal(after.run(names, {"image": image, "regions": np.array(asked)})[0], expected)
            with_another = after.run(names, {"image": image, "regions": np.array([*asked, 2])})[0]
            filled_up = before.run(names, {"image": image, "regions": np.array([*asked, 1])})[0]
            assert np.array_equal(with_another[:, :-1], filled_up[:, :-1])
