"""Each definition of the score is what `align` gives with the matching options."""

import pytest
from study_pairs import make_pair

from circuitkit.alignment.align import align
from circuitkit.experiments.experiment import run_study

NOTEBOOK = {"normalize": "l1", "influence_sign": "abs"}


@pytest.mark.parametrize(
    ("models", "direction"), [(("toy-gpt2", "toy-distilgpt2"), "student"), (("toy-bert", "toy-distilbert"), "teacher")]
)
def test_every_row_is_an_alignment(models, direction):
    pair = make_pair(*models, task="numerals")
    rows = run_study("definitions", [pair]).frame("variants").set_index("variant")
    patterns = {**NOTEBOOK, "similarity": "pattern", "direction": direction}
    wanted = {
        "text": {},
        "l1-abs": NOTEBOOK,
        "notebook": patterns,
        "notebook-zero": {**patterns, "ablation": "zero"},
    }
    assert list(rows.index) == list(wanted)
    for name, options in wanted.items():
        alone = align(
            pair.teacher_model, pair.student_model, pair.task, n_prompts=24, bootstrap=50, fingerprint=False, **options
        )
        assert rows.loc[name, "score"] == pytest.approx(alone.score), name
        assert rows.loc[name, "ci95"] == pytest.approx(alone.scores.ci95), name
        assert rows.loc[name, "null"] == pytest.approx(alone.scores.shuffle.mean), name


def test_zeros_are_measured_on_100_prompts_at_most():
    rows = run_study("definitions", [make_pair(task="numerals", n_prompts=110)]).frame("variants")
    assert list(rows["n_prompts"]) == [110, 110, 110, 100]
