"""Drops, compression and brittleness against hand-worked numbers and a plain bootstrap."""

from collections.abc import Iterator

import pytest
import torch
from synthetic import make_influence, random_influence

from circuitkit.alignment.robustness import Robustness, measure_robustness, percent_drops, retention
from circuitkit.core.bootstrap import BLOCK_BYTES, BootstrapWeights


def test_worked_by_hand():
    drops = percent_drops(torch.tensor(4.0), torch.tensor([4.0, 3.5, 2.0, -1.0, 5.0]))
    assert drops.tolist() == [0, 12.5, 50, 100, 0]
    kept = retention(torch.tensor([3.0, 5.0, 4.0]), torch.tensor([4.0, 3.5, 2.0, -1.0, 5.0])[:, None].expand(5, 3))
    assert kept.mean_drop == pytest.approx(32.5)
    assert (kept.over_10, kept.over_20) == (pytest.approx(0.6), pytest.approx(0.4))
    assert kept.ci95 is None


@pytest.mark.parametrize("clean", [[-1.0, -1.2, -0.9], [1.0, -1.0, 0.4], [3.0]])
def test_no_percentages_of_a_baseline_that_is_noise(clean):
    clean = torch.tensor(clean)
    assert retention(clean, clean.expand(4, -1)) is None
    good = random_influence(0, n_prompts=len(clean))
    poor = make_influence(clean, clean.expand(8, -1), n_params=500)
    found = measure_robustness(good, poor)
    assert found.student is None
    assert found.brittleness is None
    assert found.compression == 0.5


class _SinglePrompts(BootstrapWeights):
    """Draws that are one prompt each, the last of them one that fails."""

    def blocks(self, *, block_bytes: int = BLOCK_BYTES) -> Iterator[torch.Tensor]:
        yield torch.eye(self.n_prompts, dtype=torch.float64)[[0, 1, 2, 5][: self.n_draws]]


def test_draws_without_a_baseline_give_no_intervals():
    """Clear on the whole, but a draw may hold nothing but a wrong prompt."""
    clean = torch.tensor([3.0, 3.2, 2.8, 3.1, 3.0, -2.0, 2.9, -1.5])
    student = make_influence(clean, clean.expand(8, -1) / 2, n_params=500)
    teacher = random_influence(0, n_prompts=8)
    weights = _SinglePrompts(n_prompts=8, n_draws=4, seed=0)
    kept = retention(student.clean, student.ablated, weights=weights)
    assert kept.mean_drop == pytest.approx(50)
    assert (kept.ci95, kept.over_10_ci95, kept.over_20_ci95) == (None, None, None)
    found = measure_robustness(teacher, student, weights=weights)
    assert found.teacher.ci95 is not None
    assert found.brittleness is not None
    assert found.brittleness_ci95 is None
    sound = retention(student.clean, student.ablated, weights=_SinglePrompts(n_prompts=8, n_draws=3, seed=0))
    assert sound.ci95 == pytest.approx((50, 50))


def test_a_student_that_is_not_smaller_has_no_brittleness():
    found = measure_robustness(random_influence(0), random_influence(1))
    assert found.compression == 0
    assert found.brittleness is None


def test_intervals_are_those_of_a_plain_loop():
    teacher, student = random_influence(3), random_influence(4)
    student = make_influence(student.clean, student.ablated, n_params=600)
    weights = BootstrapWeights(n_prompts=40, n_draws=200, seed=1)
    found = measure_robustness(teacher, student, weights=weights)
    loops: dict[str, list[float]] = {"teacher": [], "student": [], "over": [], "beta": []}
    for row in torch.cat(list(weights.blocks())):
        means = {}
        for name, side in (("teacher", teacher), ("student", student)):
            base = float((row * side.clean).sum())
            drops = [min(100.0, max(0.0, 100 - 100 * float((row * a).sum()) / base)) for a in side.ablated]
            means[name] = sum(drops) / len(drops)
            loops[name].append(means[name])
            if name == "student":
                loops["over"].append(sum(d > 10 for d in drops) / len(drops))
        loops["beta"].append((means["student"] - means["teacher"]) / 0.4)
    for values, interval in (
        (loops["teacher"], found.teacher.ci95),
        (loops["student"], found.student.ci95),
        (loops["over"], found.student.over_10_ci95),
        (loops["beta"], found.brittleness_ci95),
    ):
        bounds = torch.quantile(torch.tensor(values).double(), torch.tensor([0.025, 0.975]).double())
        assert interval == pytest.approx(bounds.tolist(), abs=1e-4)
    assert Robustness.from_dict(found.to_dict()) == found
