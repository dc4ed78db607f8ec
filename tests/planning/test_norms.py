from __future__ import annotations

import pytest
import torch

from hf_ttr.planning.norms import content_norms, mean_norm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_of_what_is_not_position(dtype: torch.dtype) -> None:
    content, positions = torch.tensor([[[3.0, 4.0], [6.0, 8.0]]]), torch.tensor([[[1.0, 2.0], [5.0, 0.0]]])
    for embeddings, left_out in ((content, None), (content + positions, positions)):
        found = content_norms(embeddings.to(dtype), None if left_out is None else left_out.to(dtype))
        assert found.dtype == torch.float32
        assert found.tolist() == [[5.0, 10.0]]


def test_norms_follow_no_gradient() -> None:
    assert not content_norms(torch.ones(1, 2, 3, requires_grad=True)).requires_grad


def test_the_mean_of_nothing_can_be_divided_by() -> None:
    assert mean_norm(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist() == [2.0, pytest.approx(1e-12)]
    assert mean_norm(torch.tensor([[[1.0, 3.0], [5.0, 7.0]]])).tolist() == [[2.0, 6.0]]
