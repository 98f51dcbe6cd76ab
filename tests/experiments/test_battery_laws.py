"""Laws of the battery on scores that were made up so that each outcome is known."""

from dataclasses import replace

import pytest
from scipy.stats import page_trend_test

from circuitkit.experiments.battery.laws import BROKEN_ORDER, LAWS, NOISE_ORDER, Outcome, judge_laws
from circuitkit.experiments.battery.scores import SCORES, Measured

SHARE = next(score for score in SCORES if score.key == "F")
DISTANCE = next(score for score in SCORES if score.key == "KL")
GOOD = {
    "identity": 1.0,
    "heads-permuted": 1.0,
    "stream-rotated": 1.0 - 5e-5,
    "distilled": 0.9,
    "labels": 0.85,
    "ablated-healed": 0.97,
    "merged-healed": 0.95,
    "noise-0.1": 0.88,
    "noise-0.2": 0.8,
    "noise-0.4": 0.6,
    "noise-0.8": 0.4,
    "initialised": 0.3,
    "shortcut-ioi": 0.5,
    "random": 0.02,
}


def outcome(key, value, *, seed=0, half=0.1, score=SHARE):
    right = {"shortcut-ioi": (1.0, 0.0), "random": (0.5, 0.5), "initialised": (0.6, 0.6)}.get(key, (1.0, 1.0))
    measured = Measured(score=value, ci95=(value - half, value + half))
    return Outcome(key=key, seed=seed, agrees=right[0], broken=right[1], logit_diff=1.0, scores={score.key: measured})


def outcomes(seed=0, **changed):
    values = GOOD | {key.replace("__", "-"): value for key, value in changed.items()}
    return [outcome(key, value, seed=seed) for key, value in values.items()]


def verdicts(found, score=SHARE, task="ioi"):
    return judge_laws(score, task, found)


def test_a_score_without_fault_keeps_every_law():
    found = verdicts(outcomes())
    assert {name: verdict.passed for name, verdict in found.items()} == dict.fromkeys(LAWS, True)
    assert found["invariance"].figure == pytest.approx(5e-5)
    assert found["null"].figure == 0.02
    assert (found["noise"].figure, found["broken copies"].figure) == (1, 1)
    assert found["shortcut"].figure == pytest.approx(0.15)  # labels .85 - .1, shortcut .5 + .1
    assert found["surgery"].figure == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("law", "changed", "named"),
    [
        ("invariance", {"heads__permuted": 0.9998}, "heads-permuted"),
        ("ceiling", {"identity": 0.99, "heads__permuted": 0.99, "stream__rotated": 0.99}, ""),
        ("ceiling", {"distilled": 1.1}, "above the teacher itself: distilled"),
        ("null", {"random": 0.2}, ""),
        ("noise", {"noise__0.2": 0.89}, "noise-0.2 over noise-0.1 (1 of 1)"),
        ("broken copies", {"initialised": 0.4}, "initialised over noise-0.8 (1 of 1)"),
        ("shortcut", {"shortcut__ioi": 0.66}, "labels 0.850, shortcut-ioi 0.660"),
        ("surgery", {"merged__healed": 1.0}, ""),
    ],
)
def test_each_fault_is_found_and_named(law, changed, named):
    found = verdicts(outcomes(**changed))
    assert found[law].passed is False
    assert named in found[law].note


def test_a_distance_is_judged_the_other_way_round():
    found = [outcome(key, 1 - value, score=DISTANCE, half=0.01) for key, value in GOOD.items()]
    judged = verdicts(found, DISTANCE)
    assert judged["null"].passed is None  # it has no fixed null
    assert {name for name, verdict in judged.items() if verdict.passed} == set(LAWS) - {"null"}
    turned = [outcome(key, value, score=DISTANCE, half=0.01) for key, value in GOOD.items()]
    assert not any(verdicts(turned, DISTANCE)[law].passed for law in ("ceiling", "noise", "shortcut", "surgery"))


def test_students_that_do_not_do_what_they_should_take_no_part():
    """A shortcut that solves the task, and an honest student that does not, are named and left out."""
    found = outcomes(labels=0.1)
    lazy = [replace(o, agrees=0.7) if o.key == "labels" else o for o in found]
    judged = verdicts(lazy)["shortcut"]
    assert judged.passed
    assert "left out: labels" in judged.note
    clever = [replace(o, broken=0.95) if o.key == "shortcut-ioi" else o for o in found]
    assert verdicts(clever)["shortcut"].passed is None
    on_numerals = verdicts([replace(o, broken=1.0) for o in outcomes(shortcut__ioi=0.9)], task="numerals")
    assert on_numerals["shortcut"].passed is None  # there it is an honest solver, and there is no shortcut


def test_what_cannot_be_tried_is_not_passed():
    found = verdicts([outcome("distilled", 0.9)])
    assert {verdict.passed for verdict in found.values()} == {None}
    assert "not all of distilled, noise-0.1" in found["noise"].note


def test_several_seeds_are_tested_together():
    found = [o for seed in range(4) for o in outcomes(seed)]
    judged = verdicts(found)
    rows = [[GOOD[key] for key in NOISE_ORDER]] * 4
    wanted = page_trend_test(rows, predicted_ranks=range(len(NOISE_ORDER), 0, -1)).pvalue
    assert judged["noise"].p == pytest.approx(wanted)
    assert judged["noise"].p < 0.01
    assert judged["shortcut"].p < 0.01
    one_wrong = [
        replace(o, scores={"F": Measured(score=0.0)}) if (o.key, o.seed) == ("initialised", 2) else o for o in found
    ]
    broken = verdicts(one_wrong)["broken copies"]
    assert broken.note == f"{BROKEN_ORDER[2]} over {BROKEN_ORDER[1]} (1 of 4)"
    assert broken.figure == pytest.approx((3 + 1 / 3) / 4)
