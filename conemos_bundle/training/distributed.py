"""Several processes, one a GPU (or a CPU), started by torchrun: what the multi-GPU overlays call."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sized

import torch
import torch.distributed
from conemos_bundle.errors import UserError
from monai.data import DistributedSampler
from monai.utils import set_determinism
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler, SequentialSampler


def _of_torchrun(variable: str) -> int:
    if variable not in os.environ:
        raise UserError(f"{variable} is not set; start multi-GPU configurations with torchrun (docs/training.md)")
    return int(os.environ[variable])


def rank() -> int:
    """This process's place among all of them, from 0.

    Raises:
        UserError: torchrun did not start this process.
    """
    return _of_torchrun("RANK")


def device() -> torch.device:
    """This process's GPU; the CPU where there is none.

    Raises:
        UserError: torchrun did not start this process, or started more than there are GPUs.
    """
    local = _of_torchrun("LOCAL_RANK")
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local >= torch.cuda.device_count():
        raise UserError(
            f"{local + 1} processes or more, {torch.cuda.device_count()} GPUs: pass --nproc_per_node to torchrun"
        )
    return torch.device("cuda", local)


def fix_randomness(seed: int, rank: int = 0) -> None:
    """Seed everything that is random in this process.

    Args:
        seed: of the run.
        rank: this process among several, each of which augments in its own way.
    """
    set_determinism(seed=seed + rank)


def in_every_process(network: nn.Module, device: torch.device) -> DistributedDataParallel:
    """The network on this process's device, its gradients averaged over all processes.

    Args:
        network: the network; the process group has begun.
        device: this process's.
    """
    return DistributedDataParallel(network.to(device), device_ids=[device] if device.type == "cuda" else None)


def start(device: torch.device) -> None:
    """Join the process group (nccl on GPUs, gloo on CPUs); only the first process goes on logging.

    Args:
        device: this process's.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group(backend="nccl" if device.type == "cuda" else "gloo")
    if torch.distributed.get_rank() > 0:
        logging.disable(logging.INFO)


def sampler(dataset: Sized) -> Sampler:
    """This process's share of the scans to evaluate, each scan once and none twice; the process group has begun.

    Of no scans, as where a training has none to validate on, each has none.

    Args:
        dataset: scans, the same ones in every process.

    Raises:
        UserError: there are more processes than scans.
    """
    processes = torch.distributed.get_world_size()
    if len(dataset) == 0:
        return SequentialSampler(dataset)
    if len(dataset) < processes:
        raise UserError(
            f"{processes} processes for {len(dataset)} scans to evaluate: give torchrun --nproc_per_node "
            f"{len(dataset)} or fewer"
        )
    return DistributedSampler(dataset, even_divisible=False, shuffle=False)  # type: ignore[arg-type]


def stop(device: torch.device) -> None:
    """Wait for all processes and leave the group.

    Args:
        device: this process's.
    """
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    logging.disable(logging.NOTSET)
    if device.type != "cuda":
        time.sleep(1)  # gloo's threads may abort a process that ends at once (5 in 147)
