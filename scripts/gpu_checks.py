"""What a GPU computes, against this machine's CPU; and Table 2 at the paper's size. Rehearse both with --device cpu.

python scripts/gpu_checks.py correctness --output gpu       # gpu/correctness.json
python scripts/gpu_checks.py table2 --output gpu            # gpu/table2.csv: the paper's Table 2, K = 5, 128³
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import fire
import pandas as pd
import torch
from conemos_bundle.hosts.bundle.exports import export_onnx, export_pt2
from conemos_bundle.losses import RegionLoss
from conemos_bundle.networks import NETWORKS
from conemos_bundle.runs.run import machine

REGIONS = 5
# relative, L2, of untrained networks with instance norm; TF32 is how PyTorch convolves in float32 on a GPU by itself
LARGEST_ERROR = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 0.1}
TABLE2 = {  # the paper's names; pseudo-labelling and PSL loss share a network
    "Individual networks": "IndividualNetworks",
    "PSL loss": "UNet",
    "Multi-layer": "MultiLayer",
    "Multi-decoder": "MultiDecoder",
    "DoDNet": "DoDNet",
    "CoNeMOS": "FiLMUNet",
    "CoNeMOS, N = 7": "FiLMUNet",
}


def make(method: str, **options: Any) -> torch.nn.Module:
    """The network of a method, as train.json builds it, with the same weights on every machine."""
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"num_regions": REGIONS, "norm": "instance", **options}
    if TABLE2[method] == "FiLMUNet":
        arguments["film_position"] = "before_activation"
    if method.endswith("N = 7"):
        arguments["n_conditioned"] = 7
    return NETWORKS[TABLE2[method]](**arguments)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The L2 norm of the difference over that of ``expected``."""
    difference = found.detach().cpu().double() - expected.detach().double()
    return float(difference.norm() / expected.detach().double().norm())


def gradients(network: torch.nn.Module, image: torch.Tensor, target: torch.Tensor, dtype: str) -> torch.Tensor:
    """All gradients of a training step, one after the other."""
    network.zero_grad()
    with torch.autocast(image.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
        logits = network(image)
    RegionLoss(cross_entropy=1.0)(logits.float(), target.to(logits.dtype).float()).backward()
    return torch.cat([p.grad.flatten().float() for p in network.parameters() if p.grad is not None])


def correctness(output: str, device: str = "cuda", size: int = 48) -> None:
    """Logits and gradients of every method, and CoNeMOS's exports, against float64 on the CPU."""
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 1, size, size + 8, size - 8, generator=generator)
    target = (torch.rand(2, REGIONS, *image.shape[2:], generator=generator) > 0.8).float()
    target[1, 2:] = torch.nan  # regions that are not annotated
    found: list[dict[str, Any]] = []
    for method in TABLE2:
        reference = make(method).double()
        with torch.no_grad():
            expected = reference(image.double())
        expected_gradients = gradients(reference, image.double(), target.double(), "float64")
        network = make(method).to(device)
        for dtype in LARGEST_ERROR:
            torch.backends.cudnn.allow_tf32 = dtype != "float32"
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                logits = network(image.to(device))
            error = relative_error(logits, expected)
            of_gradients = relative_error(
                gradients(network, image.to(device), target.to(device), dtype), expected_gradients
            )
            found.append({"what": method, "dtype": dtype, "logits": error, "gradients": of_gradients})
    found += _exports(device, image, size)
    failed = [row for row in found if not row["logits"] <= LARGEST_ERROR[row["dtype"]]]
    content = {"machine": machine(), "torch": torch.__version__, "relative errors": found, "failed": failed}
    (folder / "correctness.json").write_text(json.dumps(content, indent=1) + "\n")
    for row in found:
        print(f"{row['what']:22} {row['dtype']:9} logits {row['logits']:.1e} gradients {row.get('gradients', 0):.1e}")
    raise SystemExit(f"{len(failed)} differ too much" if failed else 0)


def _exports(device: str, image: torch.Tensor, size: int) -> list[dict[str, Any]]:
    """TorchScript, saved and loaded on the device; ``.pt2`` and ONNX on the CPU, as another program runs them."""
    torch.backends.cudnn.allow_tf32 = False
    network = make("CoNeMOS").eval()
    asked = torch.tensor([3, 1])
    with torch.no_grad():
        expected = network.double()(image.double(), asked)
    network.float()
    rows = []
    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        torch.jit.script(network).save(f"{temporary}/m.ts")
        scripted = torch.jit.load(f"{temporary}/m.ts", map_location=device)
        rows.append(("TorchScript", scripted(image.to(device), asked.to(device))))
        run = export_pt2(network, Path(temporary, "m.pt2"))
        rows.append((".pt2 (CPU)", run(image, asked)))
        rows.append(("ONNX (CPU)", export_onnx(network, Path(temporary, "m.onnx"))(image, asked)))
    return [{"what": what, "dtype": "float32", "logits": relative_error(logits, expected)} for what, logits in rows]


def _seconds(call: Callable[[], object], device: str, rounds: int) -> float:
    """The median of ``rounds`` calls, after two that allocate and choose algorithms."""
    taken = []
    for i in range(rounds + 2):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        if i > 1:
            taken.append(time.perf_counter() - started)
    return median(taken)


def _measure(method: str, dtype: str, layout: str, compiled: bool, device: str, size: int, rounds: int) -> dict:
    last = layout == "channels last"
    network = make(method).to(device, memory_format=torch.channels_last_3d if last else torch.preserve_format)
    run = torch.compile(network, dynamic=False) if compiled else network
    optimizer = torch.optim.Adam(network.parameters(), fused=device == "cuda")
    loss = RegionLoss(cross_entropy=1.0)
    image = torch.rand(1, 1, size, size, size, device=device)
    crops = torch.rand(2, 1, *[size * 3 // 4] * 3, device=device)  # the published script's: 2 crops of 96³
    one_each = torch.tensor([[0], [1]], device=device)
    conditioned = method in ("DoDNet", "Individual networks") or method.startswith("CoNeMOS")
    target = (torch.rand(2, 1 if conditioned else REGIONS, *crops.shape[2:], device=device) > 0.9).float()
    every = torch.arange(REGIONS, device=device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = run(crops, one_each) if conditioned else run(crops)
        loss(logits.float(), target).backward()
        optimizer.step()

    def infer(regions: torch.Tensor) -> None:
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
            run(image, regions)

    def peak(call: Callable[[], object]) -> float:
        if device != "cuda":
            return float("nan")
        torch.cuda.reset_peak_memory_stats()
        call()
        return torch.cuda.max_memory_allocated() / 2**30

    row = {
        "method": method, "dtype": dtype, "layout": layout, "compiled": compiled,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_step_ms": 1000 * _seconds(step, device, rounds), "training_gib": peak(step),
    }  # fmt: skip
    network.eval()
    row["all_regions_ms"] = 1000 * _seconds(lambda: infer(every), device, rounds)
    row["all_regions_gib"] = peak(lambda: infer(every))
    row["one_region_ms"] = 1000 * _seconds(lambda: infer(every[:1]), device, rounds)
    return row


def table2(output: str, device: str = "cuda", size: int = 128, rounds: int = 10, seconds: float = 120) -> None:
    """Parameters, training step (2 crops, one region each), inference of all and of one region, memory (Table 2).

    Compiled networks come last and as far as ``seconds`` go: what is left out is said.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    variants = [("bfloat16", "channels last", False), ("float32", "channels first", False)]
    variants += [("bfloat16", "channels first", False), ("float32", "channels last", False)]
    todo = [(m, *v) for v in variants for m in TABLE2]
    todo += [(m, "bfloat16", "channels last", True) for m in ("CoNeMOS, N = 7", "CoNeMOS", "PSL loss", "DoDNet")]
    rows: list[dict[str, Any]] = []
    started, skipped = time.perf_counter(), 0
    for method, dtype, layout, compiled in todo:
        if time.perf_counter() - started > seconds:
            skipped += 1
            continue
        try:
            rows.append(_measure(method, dtype, layout, compiled, device, size, rounds))
        except RuntimeError as error:  # out of memory, or a compiler that gives up: the others are measured
            rows.append({"method": method, "dtype": dtype, "layout": layout, "compiled": compiled,
                         "error": str(error).splitlines()[0][:120]})  # fmt: skip
        torch._dynamo.reset()
        table = pd.DataFrame(rows).assign(machine=machine(), torch=torch.__version__, size=size)
        table.to_csv(folder / "table2.csv", index=False, float_format="%.4g")
    print(pd.DataFrame(rows).to_string(float_format=lambda value: f"{value:.4g}"))
    print(f"{skipped} of {len(list(todo))} variants left out: no time" if skipped else "all variants measured")


if __name__ == "__main__":
    fire.Fire({"correctness": correctness, "table2": table2})
