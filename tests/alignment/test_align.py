"""The whole of `align` on tiny models: the contract, what is saved, what is refused, what is said."""

import json

import pytest
import torch
from tiny_models import build_raw

from circuitkit.alignment import comparison
from circuitkit.alignment.align import align
from circuitkit.alignment.inheritance import trace_inheritance
from circuitkit.alignment.prompts import shared_batches
from circuitkit.alignment.result import AlignmentResult
from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError, OptionError, ResultError, TaskError
from circuitkit.models.loading import wrap_model
from circuitkit.models.origin import Origin
from circuitkit.tasks.loading import load_task

N = 12


@pytest.fixture(scope="module")
def pair(tiny_models):
    teacher = tiny_models["gpt2"]
    raw = build_raw("gpt2", vocab_size=teacher.info.vocab_size, n_layers=2, seed=5)
    return teacher, wrap_model(raw, teacher.tokenizer, name="student")


@pytest.fixture(scope="module")
def task():
    return load_task("numerals")


@pytest.fixture(scope="module")
def result(pair, task):
    return align(*pair, task, n_prompts=N, null="both", bootstrap=50)


def test_json_holds_the_contract(result):
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found["schema"] == "circuitkit.alignment/1"
    assert {"name", "family", "n_layers", "n_heads", "d_model", "n_params", "weights_sha256"} <= set(found["teacher"])
    assert {"name", "sha256", "n_prompts", "n_dropped", "dropped", "labels"} <= set(found["task"])
    assert found["settings"]["ablation"] == "corrupted-mean"
    for side, n in (("teacher", 15), ("student", 10)):
        assert len(found["influence"][side]) == n
        assert {"drop", "influence", "ci95", "drop_ci95", "exact"} == set(found["influence"][side]["L0H0"])
        assert len(found[f"{side}_logit_diff"]["ci95"]) == 2
    assert {"teacher", "student", "similarity", "teacher_influence", "student_influence", "contribution"} <= set(
        found["pairs"][0]
    )
    assert {"score", "ci95", "null", "calibrated", "circuit_alignment"} <= set(found["alignment"])
    assert {"mean", "sd", "p", "n"} == set(found["alignment"]["null"]["shuffle"])
    assert len(found["alignment"]["null"]["random_student"]["scores"]) == 5
    assert {"teacher", "student", "compression", "brittleness"} <= set(found["robustness"])
    assert found["versions"]["circuitkit"]
    assert found["inheritance"] is None


@pytest.mark.parametrize("broken", [{1, 3}, set(range(5))])
def test_a_random_student_that_cannot_be_measured_is_left_out(result, pair, task, monkeypatch, broken):
    true_influence = comparison.influence

    def fails(model, batch, **options):
        if any(f"seed {seed})" in model.info.name for seed in broken):
            raise ModelError("not finite")
        return true_influence(model, batch, **options)

    monkeypatch.setattr(comparison, "influence", fails)
    found = align(*pair, task, n_prompts=N, null="random-student", bootstrap=0)
    null, whole = found.scores.random_student, result.scores.random_student
    if len(broken) == 5:
        assert null is None
    else:
        assert null.seeds == (0, 2, 4)
        assert null.scores == pytest.approx(whole.scores[::2])
    said = f"{len(broken)} of 5 random students could not be measured and are left out of their null: not finite"
    assert said in found.warnings


def test_pairs_add_up_to_the_score(result):
    pairs = result.to_dict()["pairs"]
    assert len(pairs) == 15
    assert sum(p["contribution"] for p in pairs) / 15 == pytest.approx(result.score)
    for p in pairs:
        gap = abs(p["teacher_influence"] - p["student_influence"])
        assert p["contribution"] == pytest.approx(p["similarity"] * (1 - gap))
    frame = result.pairs_frame()
    assert len(frame) == 15
    assert frame["teacher_influence"].is_monotonic_decreasing
    low, high = result.scores.ci95
    assert low <= high


def test_examples_show_matched_heads(result):
    matched = {(p["teacher"], p["student"]) for p in result.to_dict()["pairs"]}
    assert len(result.examples) == 2
    assert result.examples[0].prompt != result.examples[1].prompt
    for example in result.examples:
        assert len(example.heads) == 6
        assert set(example.heads) <= matched
        n = len(example.teacher_tokens)
        assert "".join(example.teacher_tokens) == example.prompt
        assert example.teacher_patterns.shape == (6, n, n)
        rows = example.teacher_patterns.sum(-1)
        torch.testing.assert_close(rows, torch.ones_like(rows))


def test_saved_and_read_back(result, tmp_path):
    path = result.save(tmp_path / "run")
    again = AlignmentResult.load(path)
    assert json.dumps(again.to_dict()) == json.dumps(result.to_dict())
    assert again.score == result.score
    for name, tensor in result.tensors()[0].items():
        assert torch.equal(again.tensors()[0][name], tensor), name
    again.save(tmp_path / "copy")
    assert (tmp_path / "copy" / "result.json").read_text() == (path / "result.json").read_text()


def test_broken_runs_are_named(result, tmp_path):
    path = result.save(tmp_path / "run")
    broken = json.loads((path / "result.json").read_text())
    del broken["pairs"]
    (path / "result.json").write_text(json.dumps(broken))
    with pytest.raises(ResultError, match="is broken"):
        AlignmentResult.load(path)
    with pytest.raises(ResultError, match="No run at"):
        AlignmentResult.load(tmp_path / "nowhere")


def test_same_seed_same_numbers(result, pair, task):
    again = align(*pair, task, n_prompts=N, null="both", bootstrap=50)
    assert again.to_dict() == result.to_dict()


def test_finished_shards_are_reused(pair, task, tmp_path):
    stages: list[str] = []
    first = align(*pair, task, n_prompts=N, bootstrap=0, resume=tmp_path)
    assert list(tmp_path.rglob("*.safetensors"))
    again = align(
        *pair, task, n_prompts=N, bootstrap=0, resume=tmp_path, progress=lambda stage, *_: stages.append(stage)
    )
    assert again.to_dict() == first.to_dict()
    assert "teacher sweep" in stages
    assert "means" not in stages


def test_a_model_against_itself_says_so(pair, task):
    teacher, _ = pair
    found = align(teacher, teacher, task, n_prompts=N, bootstrap=0)
    assert found.score == pytest.approx(1, abs=1e-6)
    assert any("same weights" in warning for warning in found.warnings)
    assert found.scores.ci95 is None
    assert found.to_dict()["influence"]["teacher"]["L0H0"]["ci95"] is None


def test_models_that_cannot_do_the_task_are_warned_of(result):
    assert result.robustness.student is None
    assert any(w.startswith("Student student does not do this task") for w in result.warnings)
    assert any("can still score high" in w for w in result.warnings)


@pytest.mark.parametrize("matching", ["greedy", "hungarian", "soft"])
@pytest.mark.parametrize("direction", ["teacher", "student"])
@pytest.mark.parametrize("normalize", ["max", "l1", "l2"])
def test_every_choice_runs(pair, task, matching, direction, normalize):
    found = align(
        *pair,
        task,
        n_prompts=4,
        matching=matching,
        direction=direction,
        normalize=normalize,
        influence_sign="abs",
        ablation="zero",
        fingerprint=False,
        top_k=6,
        bootstrap=10,
    )
    json.dumps(found.to_dict(), allow_nan=False)
    assert -1 <= found.score <= 1
    sources = set(found.matching.teacher.tolist() if direction == "teacher" else found.matching.student.tolist())
    assert (
        len(sources)
        + len(found.matching.unmatched_teacher if direction == "teacher" else found.matching.unmatched_student)
        == 6
    )


def test_top_k_without_a_common_type_is_an_error(pair, task, monkeypatch):
    heads, mlps = torch.zeros(15, dtype=torch.bool), torch.zeros(10, dtype=torch.bool)
    heads[0], mlps[-1] = True, True
    chosen = iter([heads, mlps])
    monkeypatch.setattr("circuitkit.alignment.scores.most_influential", lambda *_: next(chosen))
    with pytest.raises(OptionError, match="Top-k 1 leaves nothing to match"):
        align(*pair, task, n_prompts=4, top_k=1, bootstrap=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"similarity": "euclid"}, "'euclid' unknown; choose one of auto, output, z, pattern, cka"),
        ({"matching": "best"}, "'best' unknown; choose one of greedy, hungarian, soft"),
        ({"normalize": "l3"}, "choose one of max, l1, l2"),
        ({"ablation": "noise"}, "choose one of corrupted-mean, mean, resample, zero"),
        ({"null": "zero"}, "choose one of shuffle, random-student, both, none"),
        ({"direction": "both"}, "choose one of teacher, student"),
        ({"top_k": 0}, "Top-k 0 is too small; give 1 or more"),
        ({"bootstrap": -1}, "bootstrap draws -1 is too small"),
        ({"fingerprint_components": "best"}, "components 'best' not understood; give auto, all, or top:K"),
        ({"fingerprint_components": "top:0"}, "components 'top:0' not understood"),
        ({"fingerprint_prompts": 3}, "fingerprint prompts 3 is too small; give 4 or more"),
        ({"n_prompts": 0}, "Number of prompts 0 is too small"),
    ],
)
def test_options_that_do_not_exist(pair, task, options, message):
    with pytest.raises(OptionError, match=message):
        align(*pair, task, **options)


def test_both_models_get_the_same_prompts(tiny_models, task):
    """The Llama tokenizer makes some prompts too long; they are left out for both, with the reason."""
    teacher, student = tiny_models["llama"], tiny_models["gpt2"]
    t, s = shared_batches(teacher, student, task, n_prompts=24, seed=0, need_corrupted=True)
    assert [p.clean for p in t.pairs] == [p.clean for p in s.pairs]
    assert t.prompt_index == s.prompt_index
    assert t.dropped == s.dropped
    left_out = {d.index for d in t.dropped}
    assert left_out
    assert sorted(left_out | set(t.prompt_index)) == list(range(24))
    assert all(d.reason.startswith("teacher: ") for d in t.dropped)
    # notices are about the prompts that are left, of which the student could have read more
    for side in (t, s):
        assert any(n.startswith(f"{len(left_out)} of 24 prompts were left out") for n in side.notices)
        smallest = side.group.bincount().min()
        assert any(f"token length has {smallest} prompt" in n for n in side.notices) == bool(smallest < 8)


def test_models_that_read_alike_share_one_batch(pair, task, monkeypatch):
    """The shared batch is what either model would have got by itself."""
    from circuitkit.alignment import prompts

    wanted = {"n_prompts": 24, "seed": 0, "need_corrupted": True}
    shared = shared_batches(*pair, task, **wanted)
    assert shared[0] is shared[1]
    monkeypatch.setattr(prompts, "read_alike", lambda *_: False)
    for one, apart in zip(shared, shared_batches(*pair, task, **wanted), strict=True):
        assert (one.pairs, one.prompt_index, one.dropped) == (apart.pairs, apart.prompt_index, apart.dropped)
        assert one.notices == apart.notices
        for block in ("clean", "corrupted"):
            for name in ("ids", "mask", "answer_pos", "words"):
                assert torch.equal(getattr(getattr(one, block), name), getattr(getattr(apart, block), name))
        for name in ("correct_ids", "incorrect_ids", "group"):
            assert torch.equal(getattr(one, name), getattr(apart, name))


def test_too_few_common_prompts_are_refused(tiny_models, task, monkeypatch):
    from circuitkit.alignment import prompts

    teacher, student = tiny_models["gpt2"], tiny_models["llama"]
    read = prompts.usable_prompts

    def half(task, model, **options):
        return read(task, model, **options).only(range(10) if model is teacher else range(10, 20), dropped=())

    monkeypatch.setattr(prompts, "usable_prompts", half)
    with pytest.raises(TaskError, match="Only 0 of 10 prompts of task 'numerals' can be used with both models"):
        shared_batches(teacher, student, task, n_prompts=20, seed=0, need_corrupted=False)


def test_inheritance_counts_matches_that_follow_the_copy(pair, task):
    teacher, student = pair
    found = align(teacher, student, task, n_prompts=4, bootstrap=0)
    layers = {0: 0, 1: 2}
    trace = trace_inheritance(layers, found.matching, teacher.components, student.components)
    rows = found.to_dict()["pairs"]
    followed = 0
    for row in rows:
        t, s = Component.parse(row["teacher"]), Component.parse(row["student"])
        followed += t.layer == layers[s.layer] and t.head == s.head
    assert trace.share == pytest.approx(followed / len(rows))
    assert trace.to_dict()["map"] == {"0": 0, "1": 2}
    some = trace_inheritance({1: 2}, found.matching, teacher.components, student.components)
    known = [r for r in rows if Component.parse(r["student"]).layer == 1]
    assert some.share == pytest.approx(
        sum(r["teacher"] in (f"L2H{Component.parse(r['student']).head}", "MLP2") for r in known) / len(known)
    )


def cut_from(teacher, sha256):
    """The teacher's layers 0 and 2, untouched, and what the student says about it."""
    raw = build_raw("gpt2", vocab_size=teacher.info.vocab_size, n_layers=2)
    raw.load_state_dict(
        {name.replace("h.2.", "h.1."): value for name, value in teacher.raw.state_dict().items() if ".h.1." not in name}
    )
    student = wrap_model(raw, teacher.tokenizer, name="cut")
    student.inheritance = Origin(teacher="big", teacher_sha256=sha256, layers={0: 0, 1: 2})
    return student


def test_inherited_copies_are_found(pair, task):
    """A student that is the teacher's layers 0 and 2, untouched: every match of its heads follows the copy."""
    teacher, _ = pair
    student = cut_from(teacher, teacher.info.weights_sha256)
    found = align(
        teacher, student, task, n_prompts=4, bootstrap=0, similarity="pattern", direction="student", fingerprint=False
    )
    first = [p for p in found.to_dict()["pairs"] if p["student"].startswith(("L0", "MLP0"))]
    assert all(p["teacher"] == p["student"] and p["similarity"] == pytest.approx(1) for p in first)
    assert found.inheritance is not None
    assert found.inheritance.share >= 0.5
    assert found.control.score == pytest.approx(found.score, abs=1e-6)
    assert not any("that it was made from" in w or "file of origin" in w for w in found.warnings)


def test_a_teacher_of_the_same_shape_is_not_believed(pair, task):
    """Before, any model with enough layers of that width passed for the teacher that the student came from."""
    teacher, _ = pair
    student = cut_from(teacher, teacher.info.weights_sha256)
    impostor = teacher.with_random_weights(1)
    found = align(impostor, student, task, n_prompts=4, bootstrap=0)
    assert found.control is None
    assert found.inheritance is None
    (said,) = [w for w in found.warnings if "says that it was made from big; this teacher is another" in w]
    assert said.endswith("so the student before distillation was not measured.")


def test_a_teacher_known_by_name_only_is_said_to_be(pair, task):
    teacher, _ = pair
    found = align(teacher, cut_from(teacher, None), task, n_prompts=4, bootstrap=0)
    assert found.control is not None
    assert found.inheritance is not None
    assert any("names the teacher big and does not identify its weights" in w for w in found.warnings)


def test_layers_that_the_teacher_lacks_are_not_traced(pair, task):
    teacher, _ = pair
    student = cut_from(teacher, None)
    student.inheritance = Origin(teacher="big", teacher_sha256=None, layers={0: 0, 1: 7})
    found = align(teacher, student, task, n_prompts=4, bootstrap=0)
    assert found.inheritance is None
    assert found.control is None
    assert any("says that it started from layer 7" in w for w in found.warnings)
