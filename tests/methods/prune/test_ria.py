"""RIA against its formula, one weight at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dsnot_exp.methods.patterns import NM, Unstructured
from dsnot_exp.methods.prune.ria import RIA
from tests.methods.prune.test_sparsegpt import layer


def formula(weight: Tensor, norm: Tensor, power: float) -> Tensor:
    sizes, found = weight.abs().double(), torch.zeros(weight.shape, dtype=torch.float64)
    for r, row in enumerate(sizes):
        for k, size in enumerate(row):
            if size:
                share = size / sizes[:, k].sum() + size / row.sum()
                found[r, k] = share * norm[k].double() ** power
    return found


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_the_scores_are_the_papers(power: float) -> None:
    weight, statistics = layer(9, 16, dead=(3,))
    weight[2], weight[:, 5] = 0, 0
    found = RIA(power=power)(weight, statistics, Unstructured(0.5), False)
    wanted = formula(weight, statistics.norm, power)
    torch.testing.assert_close(found.scores.double(), wanted, rtol=1e-5, atol=0)
    assert found.weight is weight
    assert not found.moved


def test_scores_are_compared_over_the_matrix_and_over_the_row_before_a_refiner() -> None:
    weight, statistics = layer(20, 60)
    alone, before = (RIA()(weight, statistics, Unstructured(0.37), rows) for rows in (False, True))
    assert int((~alone.mask).sum()) == int(1200 * 0.37)
    assert float(alone.scores[~alone.mask].max()) <= float(alone.scores[alone.mask].min())
    assert ((~before.mask).sum(1) == int(60 * 0.37)).all()
    row = RIA(scope="row")(weight, statistics, Unstructured(0.37), False)
    assert torch.equal(row.mask, before.mask)
    assert not torch.equal(row.mask, alone.mask)


def test_n_of_every_m_are_kept_and_dead_columns_go_first() -> None:
    weight, statistics = layer(8, 40, dead=(3, 17))
    mask = RIA()(weight, statistics, NM(2, 4), False).mask
    assert (mask.unflatten(1, (-1, 4)).sum(-1) == 2).all()
    assert not mask[:, [3, 17]].any()


def test_half_precision_weights_are_scored_in_float32() -> None:
    weight, statistics = layer(30, 60)
    half = weight.bfloat16()
    found = RIA()(half, statistics, Unstructured(0.5), False)
    assert torch.equal(found.scores, RIA()(half.float(), statistics, NM(2, 4), False).scores)


def test_its_options_are_checked_and_it_wants_all_rows() -> None:
    assert RIA.rows == "together"
    with pytest.raises(ValueError, match="power=-1"):
        RIA(power=-1)
    with pytest.raises(ValueError, match="scope=column"):
        RIA(scope="column")
