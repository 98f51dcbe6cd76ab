"""The smallest size that is enough, against running every size."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuitkit.core.errors import OptionError
from circuitkit.discovery.smallest import smallest


@given(st.integers(1, 3000), st.data())
def test_it_is_the_first_that_is_enough_where_more_is_never_worse(n_parts: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, n_parts))
    found = smallest(lambda sizes: [float(size) for size in sizes], n_parts, floor=float(first))
    assert (found.size, found.value) == (first, float(first))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=400))
def test_it_is_enough_and_one_part_less_is_not(curve: list[float]) -> None:
    curve[-1] = 1.0
    found = smallest(lambda sizes: [curve[size - 1] for size in sizes], len(curve), floor=0.5)
    assert found.value == curve[found.size - 1] >= 0.5
    assert found.size == 1 or curve[found.size - 2] < 0.5


@given(st.integers(1, 200_000), st.data())
def test_large_circuits_are_run_only_where_they_are_needed(n_parts: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, n_parts))
    ran: list[int] = []
    reports: list[tuple[int, int]] = []

    def values(sizes: Sequence[int]) -> list[float]:
        ran.extend(sizes)
        return [float(size >= first) for size in sizes]

    found = smallest(values, n_parts, floor=1.0, progress=lambda stage, done, total: reports.append((done, total)))
    assert found.evaluations == len(ran) == len(set(ran))
    assert max(ran) <= max(128, 2 * first)
    assert sum(size > 128 for size in ran) <= 2 * n_parts.bit_length()
    dones = [done for done, _ in reports]
    assert dones == sorted(set(dones))
    assert all(done <= total for done, total in reports)
    assert reports[-1] == (len(ran), len(ran))


def test_all_parts_that_are_not_enough_are_refused() -> None:
    with pytest.raises(OptionError, match=r"Not even all 5 of them keep a logit difference of 2\.000"):
        smallest(lambda sizes: [1.0 for _ in sizes], 5, floor=2.0)
