"""Largest absolute differences from the authors' networks, loss and metrics.

python scripts/parity_table.py
"""

from __future__ import annotations

from pathlib import Path

import fire
import numpy as np
import torch
from conemos_bundle.losses import RegionLoss
from conemos_bundle.metrics import dice, sd95
from conemos_bundle.networks import FiLMUNet, MultiDecoder, MultiLayer, UNet, load_reference_weights

REFERENCE = Path(__file__).resolve().parents[1] / "tests" / "parity" / "reference"
SMALL = {"num_regions": 3, "channels": (4, 8, 16), "skip": "first_conv"}


def main() -> None:
    """Print a Markdown table of the differences."""
    arrays = {}
    for path in sorted(REFERENCE.glob("*.npz")):
        with np.load(path) as file:
            arrays |= {f"{path.stem}/{name}": file[name] for name in file}
    print("| array | largest absolute difference |\n| --- | ---: |")
    networks = {
        "conemos": FiLMUNet(**SMALL),
        "conemos_last_5_conditioned": FiLMUNet(**SMALL, n_conditioned=5),
        "psl_unet": UNet(**SMALL),
        "multi_layer": MultiLayer(**SMALL),
        "multi_decoder": MultiDecoder(**SMALL),
    }
    for name, network in networks.items():
        start = f"{name}/weights/"
        load_reference_weights(network, {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)})
        with torch.no_grad():
            ours = network.eval()(torch.from_numpy(arrays[f"{name}/image"])).sigmoid().numpy()
        print(f"| {name}/probabilities | {np.abs(ours - arrays[f'{name}/probabilities']).max():.1e} |")

    loss = RegionLoss()
    target, probabilities, annotated = (
        torch.from_numpy(arrays[f"soft_dice/{name}"]).double() for name in ("target", "probabilities", "annotated")
    )
    logits = probabilities.logit()
    for k in range(target.shape[1]):
        ours = loss(logits[:, k : k + 1], target[:, k : k + 1]).item()
        print(f"| soft_dice/loss_region_{k} | {abs(ours - arrays[f'soft_dice/loss_region_{k}']):.1e} |")
    unknown = torch.where(annotated[:, :, None, None, None] > 0, target, torch.nan)
    ours = loss(logits, unknown).item()
    stored = float(arrays["soft_dice/loss_annotated_only"])
    print(f"| soft_dice/loss_annotated_only, mean per scan as documented | {abs(ours - stored):.1e} |")
    # the stored value pairs every scan's losses with every scan's mask: the authors' sums drop the axis they divide by
    pairs = [
        loss(logits[i : i + 1], torch.where(annotated[j, None, :, None, None, None] > 0, target[i : i + 1], torch.nan))
        * annotated[j].sum()
        / annotated[n].sum()
        for i in range(len(target))
        for j in range(len(target))
        for n in range(len(target))
    ]
    print(f"| soft_dice/loss_annotated_only, as stored | {abs(float(torch.stack(pairs).mean()) - stored):.1e} |")

    for i in range(4):
        pair = arrays[f"metrics/prediction_{i}"], arrays[f"metrics/reference_{i}"]
        print(f"| metrics/dice_{i} | {abs(dice(*pair) - arrays[f'metrics/dice_{i}']):.1e} |")
        print(f"| metrics/sd95_voxels_{i} | {abs(sd95(*pair) - arrays[f'metrics/sd95_voxels_{i}']):.1e} |")
    count = sum(parameter.numel() for parameter in FiLMUNet(num_regions=5).parameters())
    print(f"\nparameters at the paper's setting, K = 5: {count:,}")


if __name__ == "__main__":
    fire.Fire(main)
