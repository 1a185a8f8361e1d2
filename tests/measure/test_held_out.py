"""Held-out samples that a criterion is fitted on are not those that its points are chosen on."""

from __future__ import annotations

import pytest

from bench.measure.held_out import share_held_out
from tests.helpers.curves import make_exits


@pytest.mark.parametrize(("samples", "fit", "choose"), [(32, 16, 16), (33, 16, 17), (501, 250, 251)])
def test_half_fits_and_the_rest_chooses(samples: int, fit: int, choose: int) -> None:
    exits = make_exits(samples)
    shares = share_held_out(exits, seed=3)
    assert shares.apart
    assert (len(shares.fit.ids), len(shares.choose.ids)) == (fit, choose)
    assert sorted(shares.fit.ids + shares.choose.ids) == sorted(exits.ids)
    order = {sample: row for row, sample in enumerate(exits.ids)}
    for half in (shares.fit, shares.choose):
        rows = [order[sample] for sample in half.ids]
        assert rows == sorted(rows)
        assert (half.labels == exits.labels[rows]).all()
        assert (half.logits == exits.logits[rows]).all()


def test_the_seed_alone_decides_who_is_where() -> None:
    exits = make_exits(100)
    assert share_held_out(exits, 0).fit.ids == share_held_out(exits, 0).fit.ids
    assert share_held_out(exits, 0).fit.ids != share_held_out(exits, 1).fit.ids


def test_too_few_are_used_for_both() -> None:
    exits = make_exits(31)
    shares = share_held_out(exits, 0)
    assert shares.fit is exits
    assert shares.choose is exits
    assert not shares.apart
