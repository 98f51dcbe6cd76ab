"""Figures of Distilled Circuits recomputed from the values that its notebooks print."""

import json
from pathlib import Path

import pytest
import torch
from synthetic import make_influence

from circuitkit.alignment.matching import Matching
from circuitkit.alignment.robustness import brittleness, measure_robustness, percent_drops
from circuitkit.alignment.score import alignment_score
from circuitkit.core.component import Component, all_components
from circuitkit.discovery.normalize import normalize_influence

VALUES = json.loads((Path(__file__).parents[1] / "data" / "notebook_values.json").read_text())
SIZES = {"gpt2": 12, "distilgpt2": 6}


def retained(model: str) -> torch.Tensor:
    """Printed percentages of the logit difference that is left, in `all_components` order."""
    printed = VALUES["table2"][model]["retained_pct"]
    return torch.tensor([printed[str(c)] for c in all_components(SIZES[model], 12)], dtype=torch.float64)


@pytest.mark.parametrize(("model", "printed"), [("gpt2", "3.0561"), ("distilgpt2", "12.2401")])
def test_table_2_mean_drops(model, printed):
    drops = percent_drops(torch.tensor(100.0, dtype=torch.float64), retained(model))
    assert f"{float(drops.mean()):.4f}" == printed


def test_table_2_through_the_whole_measure():
    """The same from per-prompt logit differences; the brittleness of App. L follows from C = 33.9%."""
    clean = torch.tensor([3.0, 5.0, 4.0])
    sides = [
        make_influence(
            clean,
            (retained(model)[:, None] / 100 * clean).float(),
            n_layers=SIZES[model],
            n_heads=12,
            n_params=n_params,
        )
        for model, n_params in (("gpt2", 1000), ("distilgpt2", 661))
    ]
    found = measure_robustness(*sides)
    assert found.teacher.mean_drop == pytest.approx(3.0561, abs=5e-5)
    assert found.student.mean_drop == pytest.approx(12.2401, abs=5e-5)
    assert found.compression == pytest.approx(0.339)
    assert found.brittleness == pytest.approx(9.184 / 0.339, abs=1e-3)
    assert found.brittleness == pytest.approx(brittleness(3.0561, 12.2401, 0.339), abs=1e-3)


@pytest.mark.parametrize(("normalize", "expected"), [("l1", "0.9005"), ("max", "0.801")])
def test_ioi_alignment(normalize, expected):
    """Student to teacher; influences are |100 - retained|, normalised over the matched pairs."""
    printed = VALUES["ioi_alignment"]
    components = {str(c): i for i, c in enumerate(all_components(6, 12))}
    pairs = sorted(printed["student_to_teacher"].items(), key=lambda item: components[item[0]])
    n = len(pairs)
    assert n == 78
    drops = [
        torch.tensor([100 - values[name] for name in names], dtype=torch.float64)
        for values, names in (
            (printed["teacher_retained_pct"], [teacher for _, (teacher, _) in pairs]),
            (printed["student_retained_pct"], [student for student, _ in pairs]),
        )
    ]
    matching = Matching(
        teacher=torch.arange(n),
        student=torch.arange(n),
        similarity=torch.tensor([similarity for _, (_, similarity) in pairs], dtype=torch.float64),
        weight=torch.ones(n, dtype=torch.float64),
        unmatched_teacher=(),
        unmatched_student=(),
    )
    influences = [normalize_influence(side, normalize=normalize, sign="abs") for side in drops]
    score = float(alignment_score(matching, *influences))
    assert f"{score:.{len(expected) - 2}f}" == expected
    assert f"{matching.mean_similarity:.4f}" == "0.9096"


def test_components_of_the_data_file_parse():
    for names in (VALUES["table2"]["gpt2"]["retained_pct"], VALUES["ioi_alignment"]["student_retained_pct"]):
        assert all(str(Component.parse(name)) == name for name in names)
