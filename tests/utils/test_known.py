from __future__ import annotations

import torch
from conemos_bundle.utils.known import IGNORED, known_voxels, to_target


def test_ignored_voxels_are_nan_in_a_target_and_0_beside_what_is_known() -> None:
    masks = torch.tensor([[0, 1, IGNORED], [IGNORED, IGNORED, 1]], dtype=torch.uint8)
    target = to_target(masks)
    assert target.dtype == torch.float32
    assert target.isnan().tolist() == [[False, False, True], [True, True, False]]
    known, filled = known_voxels(target)
    assert known.tolist() == [[True, True, False], [False, False, True]]
    assert filled.tolist() == [[0, 1, 0], [0, 0, 1]]
