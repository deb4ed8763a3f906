"""The model card of a packed bundle, in the Model Zoo's form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from conemos_bundle.runs.record import Run, Source
from conemos_bundle.utils.plain import markdown_text


def _annotated(record: Run) -> str:
    counts = record.data.annotated
    if not counts:
        return ""
    columns = ["scans", *record.regions]
    lines = ["| | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns)]
    lines += [f"| {split} | " + " | ".join(str(row[c]) for c in columns) + " |" for split, row in counts.items()]
    return "Scans, and in how many of them each region is annotated:\n\n" + "\n".join(lines)


def _source(source: Source) -> dict[str, str]:
    return {key: markdown_text(text) for key, text in source.model_dump().items() if isinstance(text, str)}


def _others(record: Run) -> str:
    """The data of the weights that the training began with, and of regions that were added later."""
    others: list[tuple[str, Source]] = [
        ("The training began with weights that were trained on", s) for s in record.began_with
    ]
    others += [(f"Added later: {region}, taught on", taught) for region, taught in record.added.items()]
    lines = [
        f"\n- {what} {data['description'] or data['name'] or 'what is not stated'}; "
        f"modality: {data['modality'] or 'not stated'}; license: {data['license'] or 'not stated'}; "
        f"reference: {data['reference'] or 'not stated'}"
        for what, data in ((what, _source(source)) for what, source in others)
    ]
    return "".join(lines)


def _performance(summary: str, pictures: Sequence[str]) -> str:
    if not summary:
        return "Not evaluated yet: run the evaluation below on scans that training has not seen."
    text = f"On the test split, each scan on its own grid, only where annotated:\n\n{summary.strip()}"
    return text + "".join(f"\n\n![Best, median and worst scan]({quote(name)})" for name in pictures)


def model_card(record: Run, metadata: dict[str, Any], summary: str = "", pictures: Sequence[str] = ()) -> str:
    """The card's text (Markdown).

    Args:
        record: the run's record.
        metadata: the bundle's metadata.
        summary: table of its evaluation (Markdown); empty: there is none.
        pictures: names of files beside the card.
    """
    regions, plan = record.regions, record.plan
    data = _source(record.data)
    settings = json.dumps({"network": record.network.as_config, **record.settings}, indent=4)
    example = '"' + repr(regions[:1]) + '"'
    spacing = " × ".join(f"{s:g}" for s in plan.spacing)
    channels = "\n".join(f"- channel {k}: {region} (label-map value {k + 1})" for k, region in enumerate(regions))
    synthetic = any(
        source.modality.startswith("synthetic") for source in (record.data, *record.began_with, *record.added.values())
    )
    first = "**Synthetic: trained on scans that a program drew. Not for patients.**\n\n" if synthetic else ""
    return f"""{first}# Model Overview

{markdown_text(metadata["description"])} It is asked for a region and segments that region: regions may be
disjoint, overlapping or nested, and only those asked for cost time. Method: Billot et al., *Network conditioning for
synergistic learning on partial annotations*, MIDL 2024. {metadata["intended_use"]}

## Data

{data.get("description") or data.get("name", "")}

- Modality: {data.get("modality") or "not stated"}
- License: {data.get("license") or "not stated"} (see `data_license.txt`)
- Reference: {data.get("reference") or "not stated"}{_others(record)}

{_annotated(record)}

A region that is not annotated in a scan is unknown there, never background.

## Training configuration

`configs/train.json` with:

```json
{settings}
```

The loss covers only what is annotated. The weights are those of the epoch with the best validation Dice (mean over
regions of the mean over annotated scans), or of the last one where no scan validates. Settings that are not named here
are those of `configs/train.json`, or of the overlay that the run was started with.

## Input

One scan, {plan.in_channels} channel(s), any grid and orientation: it is turned to RAS, resampled to {spacing} mm,
and its 0.5–99.5 percentiles are scaled to [0, 1].

## Output

For each region asked for, a binary mask on the scan's own grid.

{channels}

## Performance

{_performance(summary, pictures)}

## Resources

Inference runs on a CPU. Windows of {" × ".join(map(str, plan.patch_size))} voxels bound the memory.

## Commands

Segment some regions of a scan, or of all scans of a folder:

```
python -m monai.bundle run --config_file configs/inference.json --dataset_dir SCAN --regions {example}
```

Train on a datalist of your own (regions come from it):

```
python -m monai.bundle run training --config_file configs/train.json --datalist datalist.json --dataset_dir DATA
```

Evaluate these weights:

```
python -m monai.bundle run evaluating --config_file "['configs/train.json','configs/evaluate.json']" \\
    --datalist datalist.json --dataset_dir DATA --ckpt_path models/model.pt
```

Export to TorchScript:

```
python -m monai.bundle ckpt_export network_def --filepath models/model.ts --ckpt_file models/model.pt \\
    --meta_file configs/metadata.json --config_file configs/inference.json
```

## Limitations

Trained on the scans above only; other scanners, sequences, ages and pathologies are untested.
{metadata["intended_use"]}

## References

{chr(10).join("- " + markdown_text(reference) for reference in metadata["references"])}

## License

Code: Apache License 2.0 (`LICENSE`). Training data: `docs/data_license.txt`.
"""
