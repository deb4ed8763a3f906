"""What a GPU computes, against this machine's CPU; and Table 2 at the paper's size. Rehearse both with --device cpu.

python scripts/gpu_checks.py correctness --output gpu       # gpu/correctness.json
python scripts/gpu_checks.py table2 --output gpu            # gpu/table2.csv: the paper's Table 2, K = 5, 128³
python scripts/gpu_checks.py sharing --output gpu           # gpu/sharing.json: trainings side by side, and MPS

What becomes of a training that is killed and resumed on a GPU: tests/integration/verify_gpu_resume.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import fire
import pandas as pd
import torch
from conemos_bundle.hosts.bundle.exports import export_onnx, export_pt2
from conemos_bundle.losses import RegionLoss
from conemos_bundle.networks import NETWORKS, FiLMUNet
from conemos_bundle.paper.bench.networks import concatenating
from conemos_bundle.runs.run import machine
from gpu_usage import shared_gpu

REGIONS = 5
# relative, L2, of untrained networks with instance norm; TF32 is how PyTorch convolves in float32 on a GPU by itself
LARGEST_ERROR = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 0.1}
TABLE2 = {  # the paper's names; pseudo-labeling and PSL loss share a network
    "Individual networks": "IndividualNetworks",
    "PSL loss": "UNet",
    "Multi-layer": "MultiLayer",
    "Multi-decoder": "MultiDecoder",
    "DoDNet": "DoDNet",
    "CoNeMOS": "FiLMUNet",
    "CoNeMOS, N = 7": "FiLMUNet",
}


class Variant(NamedTuple):
    """How a method is measured."""

    method: str
    dtype: str
    layout: str
    compiled: str  # "no", or the mode of torch.compile; "reduce-overhead" uses CUDA graphs
    decoder: str = "transposed"  # how it reads the coarser level; "concatenated": up-sampled, beside the skip


_MIXED, _SINGLE = ("bfloat16", "channels last"), ("float32", "channels first")
_COMPILED = (
    ("CoNeMOS, N = 7", "default"),
    ("PSL loss", "default"),
    ("CoNeMOS", "reduce-overhead"),
    ("PSL loss", "reduce-overhead"),
    ("CoNeMOS", "default"),
    ("CoNeMOS, N = 7", "reduce-overhead"),
)
VARIANTS = [
    *(Variant(method, *how, "no") for how in (_MIXED, _SINGLE) for method in TABLE2),
    *(Variant(m, *how, "no", "concatenated") for how in (_MIXED, _SINGLE) for m in ("PSL loss", "CoNeMOS, N = 7")),
    *(Variant("PSL loss", *how, "no") for how in (("bfloat16", "channels first"), ("float32", "channels last"))),
    *(Variant(method, *_MIXED, mode) for method, mode in _COMPILED),  # what is wanted most comes first
    *(Variant(m, *_MIXED, "default") for m in ("DoDNet", "Multi-layer", "Multi-decoder", "Individual networks")),
]


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


def correctness(output: str, device: str = "cuda", size: int = 48, seconds: float = 120) -> None:
    """Logits and gradients of every method, and CoNeMOS's exports, against float64 on the CPU.

    Written as it goes; what ``seconds`` did not suffice for is said.
    """
    started = time.perf_counter()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 1, size, size + 8, size - 8, generator=generator)
    target = (torch.rand(2, REGIONS, *image.shape[2:], generator=generator) > 0.8).float()
    target[1, 2:] = torch.nan  # regions that are not annotated
    found: list[dict[str, Any]] = []
    left_out: list[str] = []
    own_scales = ("CoNeMOS, N = 7", {"spacings": [[3, 3, 3], [6, 6, 6]]})
    for method, options in [own_scales, *((method, {}) for method in TABLE2)]:
        if time.perf_counter() - started > seconds:
            left_out.append(method)
            continue
        reference = make(method, **options).double()
        with torch.no_grad():
            expected = reference(image.double())
        expected_gradients = gradients(reference, image.double(), target.double(), "float64")
        network = make(method, **options).to(device)
        for dtype in LARGEST_ERROR:
            torch.backends.cudnn.allow_tf32 = dtype != "float32"
            with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                logits = network(image.to(device))
            error = relative_error(logits, expected)
            of_gradients = relative_error(
                gradients(network, image.to(device), target.to(device), dtype), expected_gradients
            )
            what = f"{method}, own scales" if options else method
            found.append({"what": what, "dtype": dtype, "logits": error, "gradients": of_gradients})
        _write(folder, found, left_out)
    try:
        found += _exports(device, image, size)
    except Exception as error:  # of whatever kind: what was found is worth more than its traceback
        left_out.append(f"exports: {type(error).__name__}: {str(error)[:200]}")
    failed = _write(folder, found, left_out)
    for row in found:
        print(f"{row['what']:22} {row['dtype']:9} logits {row['logits']:.1e} gradients {row.get('gradients', 0):.1e}")
    print("left out: " + "; ".join(left_out) if left_out else "all were compared")
    raise SystemExit(f"{len(failed)} differ too much" if failed else 0)


def _write(folder: Path, found: list[dict[str, Any]], left_out: list[str]) -> list[dict[str, Any]]:
    """Write ``correctness.json``; return the rows with too large an error."""
    failed = [row for row in found if not row["logits"] <= LARGEST_ERROR[row["dtype"]]]
    content = {"machine": machine(), "torch": torch.__version__, "relative errors": found, "failed": failed}
    content["left out"] = left_out
    (folder / "correctness.json").write_text(json.dumps(content, indent=1) + "\n")
    return failed


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


def sharing(output: str, processes: int = 8, seconds: float = 8, device: str = "cuda", faster: float = 1.15) -> None:
    """Steps per second of small trainings side by side, with CUDA's Multi-Process Service and without.

    Exit code 0: it makes them faster by that factor.
    """
    found = {}
    for mps in (False, True):
        with shared_gpu(mps) as shared:
            if shared != mps:
                found["with MPS"] = 0.0
                continue
            words = [sys.executable, __file__, "steps", "--seconds", str(seconds), "--device", device]
            started = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(processes)]
            counts = [float(process.communicate()[0] or 0) for process in started]
            found["with MPS" if mps else "without"] = sum(counts) / seconds
    print(json.dumps(found))
    (Path(output) / "sharing.json").write_text(json.dumps({"machine": machine(), "steps per second": found}) + "\n")
    raise SystemExit(0 if found["with MPS"] >= faster * found["without"] else 1)


def steps(seconds: float, device: str = "cuda", size: int = 48) -> None:
    """Print how many steps a training manages in a time, on random patches."""
    network = make("CoNeMOS, N = 7").to(device)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    image = torch.rand(2, 1, size, size, size, device=device)
    target = (torch.rand(2, 2, size, size, size, device=device) > 0.8).float()
    regions = torch.tensor([[0, 1], [2, 3]], device=device)
    loss, count, began = RegionLoss(), 0, 0.0
    while count < 10 or time.perf_counter() - began < seconds:
        count += 1
        began = time.perf_counter() if count == 10 else began
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16):
            logits = network(image, regions)
        loss(logits.float(), target).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
    print(count - 10)


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


def _peak(call: Callable[[], object], device: str) -> float:
    """GiB that a call takes at most."""
    if device != "cuda":
        return float("nan")
    torch.cuda.reset_peak_memory_stats()
    call()
    return torch.cuda.max_memory_allocated() / 2**30


def _measure(variant: Variant, device: str, size: int, rounds: int) -> Iterator[dict[str, Any]]:
    """What is measured of a variant, one after the other: an error in one leaves what came before."""
    last = variant.layout == "channels last"
    network = make(variant.method)
    network = concatenating(network) if variant.decoder == "concatenated" else network
    network = network.to(device, memory_format=torch.channels_last_3d if last else torch.preserve_format)
    yield {"parameters": sum(p.numel() for p in network.parameters())}
    run: Callable[..., torch.Tensor] = network
    if variant.compiled != "no":
        run = torch.compile(network, dynamic=False, mode=variant.compiled)
    optimizer = torch.optim.Adam(network.parameters(), fused=device == "cuda")
    loss = RegionLoss(cross_entropy=1.0)
    image = torch.rand(1, 1, size, size, size, device=device)
    crops = torch.rand(2, 1, *[size * 3 // 4] * 3, device=device)  # the published script's: 2 crops of 96³
    one_each = torch.tensor([[0], [1]], device=device)
    conditioned = variant.method in ("DoDNet", "Individual networks") or variant.method.startswith("CoNeMOS")
    target = (torch.rand(2, 1 if conditioned else REGIONS, *crops.shape[2:], device=device) > 0.9).float()
    every = torch.arange(REGIONS, device=device)
    mixed = variant.dtype == "bfloat16"

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            logits = run(crops, one_each) if conditioned else run(crops)
        loss(logits.float(), target).backward()
        optimizer.step()

    def infer(regions: torch.Tensor) -> None:
        torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=mixed):
            run(image, regions)

    began = time.perf_counter()
    step()
    yield {"first_step_s": time.perf_counter() - began}  # compiling included
    yield {"training_step_ms": 1000 * _seconds(step, device, rounds), "training_gib": _peak(step, device)}
    network.eval()
    for name, regions in (("all_regions", every), ("one_region", every[:1])):
        if name == "one_region" and variant.compiled != "no":
            return  # compiled anew for this number of regions: takes as long as another variant
        taken = 1000 * _seconds(partial(infer, regions), device, rounds)
        yield {f"{name}_ms": taken, f"{name}_gib": _peak(partial(infer, regions), device)}
    if isinstance(network, FiLMUNet):
        with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=mixed):
            features = network.encode(image)
            yield {"second_region_ms": 1000 * _seconds(lambda: network.decode(features, every[1:2]), device, rounds)}


def table2(output: str, device: str = "cuda", size: int = 128, rounds: int = 10, seconds: float = 120) -> None:
    """Parameters, training step (2 crops, one region each), inference of all and of one region, memory (Table 2).

    Written as it goes. Compiled networks come last and as far as ``seconds`` go: what is left out is said.
    """
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    torch.backends.cudnn.allow_tf32 = True
    rows: list[dict[str, Any]] = []
    started, skipped = time.perf_counter(), 0
    for variant in VARIANTS:
        if time.perf_counter() - started > seconds:
            skipped += 1
            continue
        rows.append(variant._asdict())
        try:
            for found in _measure(variant, device, size, rounds):
                rows[-1].update(found)
                _write_table(folder, rows, size)
        except Exception as error:  # out of memory, or a compiler that gives up: the others are measured
            rows[-1]["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        _write_table(folder, rows, size)
        print({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
        torch._dynamo.reset()
        if device == "cuda":
            torch.cuda.empty_cache()
    print(f"{skipped} of {len(VARIANTS)} variants left out: no time" if skipped else "all variants measured")


def _write_table(folder: Path, rows: list[dict[str, Any]], size: int) -> None:
    table = pd.DataFrame(rows).assign(machine=machine(), torch=torch.__version__, size=size)
    table.to_csv(folder / "table2.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    fire.Fire({"correctness": correctness, "table2": table2, "sharing": sharing, "steps": steps})
