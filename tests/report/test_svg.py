"""Charts as text: what is drawn of a line."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.report.svg import VERTEX_GAP, keep_apart

NUMBERS = st.floats(-500, 500, allow_nan=False)


def test_vertices_close_to_the_one_before_are_dropped_and_the_ends_stay() -> None:
    places = [(0, 0), (0.4, 0.4), (0.9, 0.2), (1.2, 0), (1.3, 0), (5, 0), (5.2, 0)]
    assert keep_apart([(VERTEX_GAP * x, VERTEX_GAP * y) for x, y in places]) == [0, 3, 5, 6]
    assert keep_apart([(3, 3)]) == [0]
    assert keep_apart([]) == []


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=40))
def test_no_dropped_vertex_is_far_from_the_one_kept_before_it(points: list[tuple[float, float]]) -> None:
    kept = keep_apart(points)
    assert kept[0] == 0
    assert kept[-1] == len(points) - 1
    assert kept == sorted(set(kept))
    for i, (x, y) in enumerate(points):
        before = points[max(k for k in kept if k <= i)]
        assert max(abs(x - before[0]), abs(y - before[1])) < VERTEX_GAP
