"""The comparison of loading pipelines."""

import torch
from benchmarking.data import compare


def test_rows() -> None:
    threads = torch.get_num_threads()
    rows = compare(images=64, batch_size=16, steps=2, repeats=2, workers=(0, 1))
    assert torch.get_num_threads() == threads
    names = ["distill in memory", "torchvision and PIL, 0 workers", "torchvision and PIL, 1 workers"]
    assert [row["pipeline"] for row in rows] == names
    assert rows[0]["ours_over_this"] == 1
    for row in rows:
        assert 0 < row["slowest"] <= row["images_per_second"] <= row["fastest"]  # type: ignore[operator]
