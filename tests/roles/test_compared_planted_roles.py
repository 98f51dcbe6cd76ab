"""A teacher with two heads of one role and a student with one: the comparison says merged, and by how much."""

import json
from dataclasses import replace

import pytest
import torch
from planted_roles import planted_roles

from circuitkit.alignment.prompts import shared_batches
from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.discovery.search import SearchOptions
from circuitkit.experiments.compare import compare
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.sweep import sweep
from circuitkit.roles.assign import find_roles
from circuitkit.tasks.loading import load_task

N = 32
HOW = {"n_prompts": N, "bootstrap": 100, "method": "influence", "options": SearchOptions(top=8)}


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def models(request):
    """Two name movers, L2H1 and L2H3, and one, L2H1; all else is the same."""
    return [planted_roles(name, request.param, n_prompts=N) for name in ("doubled", "names")]


@pytest.fixture(scope="module")
def task(models, tmp_path_factory):
    rows = [
        {
            "clean": pair.clean,
            "corrupted": pair.corrupted,
            "correct": pair.correct,
            "incorrect": pair.incorrect,
            "labels": {label: list(span) for label, span in pair.labels.items()},
            "corrupted_labels": {label: list(span) for label, span in pair.corrupted_labels.items()},
        }
        for pair in models[0].batch.pairs
    ]
    file = tmp_path_factory.mktemp("task") / "names.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return load_task(file)


@pytest.fixture(scope="module")
def merged(models, task):
    return compare(models[0].model, models[1].model, task, **HOW)


def test_two_name_movers_are_merged_in_one(merged):
    changes = {change.role: change for change in merged.roles.changes}
    movers = changes["name-mover"]
    assert movers.status == "both"
    assert set(movers.teacher) == {"L2H1", "L2H3"} and movers.student == ("L2H1",)
    (merge,) = movers.merges
    assert set(merge.teachers) == {"L2H1", "L2H3"}
    assert merge.student == "L2H1" and merge.same_role
    assert movers.lost == movers.new == ()
    for role, change in changes.items():
        assert change.status == "both", role
        if role != "name-mover":
            assert change.teacher == change.student and change.lost == change.new == change.merges == ()


def test_roles_are_the_planted_ones_and_those_of_find_roles(models, task, merged):
    batches = shared_batches(*(m.model for m in models), task, n_prompts=N, seed=0, need_corrupted=True)
    for known, batch, side in zip(models, batches, (merged.roles.teacher, merged.roles.student), strict=True):
        assert {name: held for name, held in side.result.roles.items() if held} == known.roles
        alone = find_roles(known.model, batch, bootstrap=100)
        found, wanted = side.result.to_dict(), alone.to_dict()
        for key in ("scores", "influence", "mlps", "logit_diff", "absent"):
            assert found[key] == wanted[key], key


def test_nothing_that_the_alignment_measured_is_swept_again(merged):
    assert merged.roles.teacher.result.influence is merged.alignment.teacher
    assert merged.roles.student.result.influence is merged.alignment.student


def test_reliance_on_a_role_is_that_on_all_its_heads(models, task, merged):
    found = json.loads(json.dumps(merged.to_dict(), allow_nan=False))["roles"]
    reliance = found["roles"]["name-mover"]["reliance"]
    robust = merged.alignment.student
    index = robust.components.index(Component.parse("L2H1"))
    wanted = 100 * robust.drops[index].double().mean() / robust.clean.double().mean()
    assert reliance["student"]["points"] == pytest.approx(wanted.item())
    ours = found["components"]["student"]["L2H1"]["full_model"]
    assert ours == reliance["student"]
    both = reliance["teacher"]["points"]
    alone = [found["components"]["teacher"][name]["full_model"]["points"] for name in ("L2H1", "L2H3")]
    assert both > max(alone)  # each can do the other's work
    assert reliance["difference"]["points"] == pytest.approx(reliance["student"]["points"] - both)
    rows = {row["role"]: row for row in found["table1"]}
    assert rows["name-mover"]["teacher"]["of"] == 2 and rows["name-mover"]["student"]["component"] == "L2H1"
    assert found["summary"] | {"components": 0} == {
        "kept": len(rows), "lost": 0, "new": 0, "untested": 0, "merged": 1, "components": 0
    }  # fmt: skip


def test_roles_that_may_help_or_hurt_say_which(merged):
    found = json.loads(json.dumps(merged.to_dict()))["roles"]["roles"]
    assert "copy" not in found  # the movers imply it
    assert found["copy-suppression"]["effects"] == {"teacher": {"L2H2": "hurts"}, "student": {"L2H2": "hurts"}}
    assert not found["copy-suppression"]["helps"] and found["name-mover"]["helps"]


def test_the_other_way_round_one_head_is_new(models, task):
    found = compare(models[1].model, models[0].model, task, **HOW).roles
    movers = next(change for change in found.changes if change.role == "name-mover")
    assert movers.teacher == ("L2H1",) and set(movers.student) == {"L2H1", "L2H3"}
    assert movers.status == "both" and movers.merges == movers.lost == () and len(movers.new) == 1


def test_ablations_that_need_no_corrupted_prompts_find_the_same_roles(models, task, merged):
    found = compare(models[0].model, models[1].model, task, ablation="zero", **HOW)
    assert found.roles.teacher.result.roles == merged.roles.teacher.result.roles
    assert found.roles.ablation == "zero"
    drop = found.roles.teacher.alone["L2H1"]
    known = models[0]
    by_hand = sweep(known.model, known.batch, ablation=Ablation.ZERO, components=[Component.parse("L2H1")])
    torch.testing.assert_close(drop.fall, by_hand.clean - by_hand.ablated[0], atol=1e-4, rtol=1e-4)
    assert found.roles.teacher.result.influence is found.alignment.teacher


def test_a_task_without_corrupted_prompts_tests_no_role(models, task, tmp_path):
    file = tmp_path / "plain.jsonl"
    rows = [{"clean": p.clean, "correct": p.correct, "incorrect": p.incorrect} for p in models[0].batch.pairs]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = compare(models[0].model, models[1].model, load_task(file), ablation="mean", **HOW)
    assert found.roles.changes == () and found.roles.to_dict()["tested"] == {"teacher": [], "student": []}
    assert any("No role could be claimed for the teacher" in warning for warning in found.warnings)


def test_roles_of_models_of_which_one_cannot_do_the_task_are_untested_not_lost(models, task, merged):
    """Nothing can be claimed without a clear logit difference, so that nothing is known to be lost."""
    unable = models[1].model.with_random_weights(0)
    how = HOW | {"judged": "none"}
    found = compare(models[0].model, unable, task, **how)
    assert not found.alignment.student.baseline.clear
    assert {change.status for change in found.roles.changes} == {"untested in student"}
    assert all(change.lost == () for change in found.roles.changes)


def test_influence_of_another_model_or_other_prompts_is_refused(models, merged):
    known = models[1]
    own = merged.alignment.student
    for wrong in (merged.alignment.teacher, replace(own, clean=own.clean[:3], ablated=own.ablated[:, :3])):
        with pytest.raises(OptionError, match="Measure it on this batch") as error:
            find_roles(known.model, known.batch, measured=wrong)
        assert "\n" not in str(error.value)
