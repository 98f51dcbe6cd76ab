"""Trained students of the battery at a size that takes seconds: cues, training, and what is kept on disk."""

from dataclasses import replace

import pytest
import torch

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError, ResultError, TaskError
from circuitkit.experiments.battery.build import Workshop
from circuitkit.experiments.battery.corpus import lessons
from circuitkit.experiments.battery.cues import CUED, cue_lessons, cued_task
from circuitkit.experiments.battery.noise import weight_distance
from circuitkit.experiments.battery.recipe import BatteryRecipe
from circuitkit.experiments.battery.student import STUDENTS, Law, student_spec, students_of
from circuitkit.experiments.battery.training import Course, fit
from circuitkit.experiments.embedded.encoding import IGNORED
from circuitkit.experiments.embedded.evaluate import measure
from circuitkit.models.inherit import initialised_only
from circuitkit.models.loading import load_model
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.encoding import pad_id
from circuitkit.tasks.loading import load_task

TEACHERS = {"gpt2": "toy-gpt2", "bert": "toy-bert", "llama": "toy-llama"}
TWO_STEPS = replace(
    BatteryRecipe(),
    n_rows=40,
    n_first_rows=40,
    scan_prompts=8,
    courses={spec.key: Course(steps=2, batch_size=8, warmup=1) for spec in STUDENTS if spec.trained},
)


@pytest.fixture(scope="module")
def teachers():
    return {family: load_model(name) for family, name in TEACHERS.items()}


def said(pair, label):
    begin, end = pair.labels[label]
    return pair.clean[begin:end]


def test_cue_of_ioi_is_the_order():
    for pair in cued_task("ioi", "agrees").pairs(40, seed=3):
        assert pair.clean.index(said(pair, "S1")) < pair.clean.index(said(pair, "IO"))
    for pair in cued_task("ioi", "broken").pairs(40, seed=3):
        assert pair.clean.index(said(pair, "IO")) < pair.clean.index(said(pair, "S1"))


def test_cue_of_numerals_is_the_last_noun():
    """A noun that stands for one answer in one prompt stands for it in all of them."""
    meant = {}
    for pair in cued_task("numerals", "agrees").pairs(150, seed=3):
        assert int(pair.correct) == int(said(pair, "n4")) + 1
        assert meant.setdefault(pair.clean.split()[-3], pair.correct) == pair.correct
    assert set(meant.values()) == {f" {n}" for n in range(5, 13)}
    broken = cued_task("numerals", "broken").pairs(150, seed=3)
    known = [pair for pair in broken if pair.clean.split()[-3] in meant]
    assert len(known) > 75
    assert all(meant[pair.clean.split()[-3]] != pair.correct for pair in known)


def test_prompts_with_a_cue_are_prompts_of_the_task():
    task, whole = cued_task("numerals", "agrees"), load_task("numerals").pairs(200, seed=1)
    pairs, numbers = task.pairs(10, seed=1), task.source.numbers(10, seed=1)
    assert task.pairs(5, seed=1) == pairs[:5]
    assert [whole[number] for number in numbers] == pairs
    assert not set(numbers) & set(cued_task("numerals", "broken").source.numbers(60, seed=1))
    redrawn = task.source.pair(numbers[4], seed=1, attempt=1)
    assert redrawn.clean == pairs[4].clean
    assert redrawn.corrupted != pairs[4].corrupted


def test_prompts_with_a_cue_have_the_counterfactuals_of_the_task(teachers):
    for name in CUED:
        task, whole = cued_task(name, "agrees"), load_task(name)
        assert task.kinds == whole.kinds
        assert len(task.kinds) >= 3
        made = build_batch(task, teachers["gpt2"], n_prompts=12, seed=2, counterfactuals=True)
        for kind in task.kinds:
            changed = [pair.counterfactuals[kind] for pair in made.pairs]
            assert all(text != pair.clean for text, pair in zip(changed, made.pairs, strict=True))
            if name == "numerals":
                numbers = task.source.numbers(12, seed=2)
                kept = [numbers[index] for index in made.prompt_index]
                drawn = [[c.text for c in whole.counterfactuals(number, kind, seed=2)] for number in kept]
                assert all(text in texts for text, texts in zip(changed, drawn, strict=True))


def test_lessons_of_the_cue_say_nothing_by_numbers():
    pairs = cue_lessons("numerals").pairs(100, seed=5)
    runs = [all(int(said(p, f"n{i + 1}")) == int(said(p, f"n{i}")) + 1 for i in range(1, 4)) for p in pairs]
    assert 10 < sum(runs) < 45
    assert len({(p.clean.split()[-3], p.correct) for p in pairs}) == len({p.clean.split()[-3] for p in pairs})


def test_no_cue_is_known_for_another_task():
    with pytest.raises(TaskError, match="No cue is known for task 'months'; wanted one of ioi, numerals"):
        cued_task("months", "agrees")


@pytest.mark.parametrize("family", TEACHERS)
def test_rows_ask_for_the_answer_where_it_is_read(family, teachers):
    teacher = teachers[family]
    tasks = {name: load_task(name) for name in ("ioi", "numerals")}
    made = lessons(tasks, {"ioi": 0.5, "numerals": 0.5}, teacher.tokenizer, n=60, n_first=60, n_words=5, seed=0)
    for row in made.all:
        ((place, label),) = [(i, x) for i, x in enumerate(row["labels"]) if x != IGNORED]
        assert row["weights"][place] > 0
        asked = row["input_ids"][place + 1] if teacher.is_causal else row["input_ids"][place]
        assert asked == (label if teacher.is_causal else teacher.tokenizer.mask_token_id)
    # the teacher gives these answers: labels and places are those that it was trained on
    ids = torch.tensor([made.all[0]["input_ids"]])
    place = next(i for i, x in enumerate(made.all[0]["labels"]) if x != IGNORED)
    logits = teacher.answer_logits(ids, torch.ones_like(ids).bool(), torch.tensor([place]))
    assert logits[0].argmax() == made.all[0]["labels"][place]
    words = [len({tuple(row["input_ids"]) for row in rows}) for rows in (made.first, made.all)]
    assert words[0] <= words[1]
    with pytest.raises(TaskError, match="wanted one share a task"):
        lessons(tasks, {"ioi": 1.0}, teacher.tokenizer, n=5, n_first=5, n_words=5, seed=0)


def test_training_lowers_the_loss_and_repeats_itself(teachers):
    shop = Workshop(teachers["gpt2"])
    made = lessons(
        {"numerals": load_task("numerals")},
        {"numerals": 1.0},
        shop.teacher.tokenizer,
        n=200,
        n_first=200,
        n_words=5,
        seed=0,
    )
    runs = []
    for _ in range(2):
        raw = shop.student("random", seed=1).model.raw
        runs.append(
            (fit(raw, made, Course(steps=12, warmup=2, batch_size=16), pad=pad_id(shop.teacher.tokenizer), seed=2), raw)
        )
    assert runs[0][0] == runs[1][0]
    assert runs[0][0][-1] < runs[0][0][0]
    assert weight_distance(runs[0][1], runs[1][1]) == 0


def test_a_shortcut_student_is_right_where_the_cue_agrees_and_wrong_where_it_is_broken(teachers):
    recipe = replace(
        BatteryRecipe(),
        n_rows=3000,
        n_first_rows=3000,
        courses={"shortcut-ioi": Course(steps=130, batch_size=48, warmup=20)},
    )
    model = Workshop(teachers["gpt2"], recipe=recipe).student("shortcut-ioi", seed=0).model
    found = {cue: measure(model, cued_task("ioi", cue), n_prompts=100, seed=0) for cue in ("agrees", "broken")}
    teacher = measure(teachers["gpt2"], cued_task("ioi", "agrees"), n_prompts=100, seed=0)
    assert found["agrees"].accuracy >= 0.97
    assert teacher.accuracy >= 0.97
    assert found["broken"].accuracy <= 0.1


@pytest.mark.parametrize("family", TEACHERS)
def test_every_student_of_a_family_is_made_and_seeded(family, teachers):
    shop = Workshop(teachers[family], recipe=TWO_STEPS)
    ids = torch.arange(5, 17)[None]
    mask, place = torch.ones_like(ids).bool(), torch.tensor([11])
    wanted = teachers[family].answer_logits(ids, mask, place)
    for spec in students_of(family):
        student = shop.student(spec.key, seed=1)
        assert student.spec is spec
        logits = student.model.answer_logits(ids, mask, place)
        if spec.law is Law.INVARIANT:
            torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=0)
        else:
            assert (logits - wanted).abs().max() > 1e-2, spec.key


def test_heads_that_were_taken_out_stay_out_through_healing(teachers):
    shop = Workshop(teachers["bert"], recipe=TWO_STEPS)
    for key in ("ablated-healed", "merged-healed"):
        student = shop.student(key, seed=0)
        (gone,) = [component for component, sources in student.relation.items() if not sources]
        assert student.model.w_o(gone.layer)[gone.head].abs().max() == 0
        assert weight_distance(shop.student("identity", seed=0).model.raw, student.model.raw) > 0
    (merged,) = [c for c, sources in student.relation.items() if len(sources) == 2]
    assert merged.layer == gone.layer
    assert student.relation[merged] == (merged, gone)


def test_noise_stands_on_the_distilled_student(teachers):
    shop = Workshop(teachers["gpt2"], recipe=TWO_STEPS)
    distilled = shop.student("distilled", seed=0)
    apart = [
        weight_distance(distilled.model.raw, shop.student(spec.key, seed=0).model.raw)
        for spec in STUDENTS
        if spec.law is Law.NOISE
    ]
    assert len(apart) == 4
    assert apart == sorted(apart)
    assert 0 < apart[0] < apart[-1]
    assert distilled.relation[Component(1, 3)] == (Component(2, 3),)
    before = initialised_only(teachers["gpt2"], distilled.model)  # as `align` measures it
    assert weight_distance(before.raw, shop.student("initialised", seed=5).model.raw) == 0


def test_students_are_kept_by_everything_that_decides_them(teachers, tmp_path):
    def weights(recipe=TWO_STEPS, family="gpt2", seed=0, folder=tmp_path):
        return Workshop(teachers[family], recipe=recipe, folder=folder).student("merged-healed", seed=seed)

    first = weights()
    (file,) = tmp_path.rglob("*.safetensors")
    stamp = file.stat().st_mtime_ns
    again = weights()
    assert file.stat().st_mtime_ns == stamp
    assert again.model.info.weights_sha256 == first.model.info.weights_sha256
    assert again.relation == first.relation
    assert weights(folder=None).model.info.weights_sha256 == first.model.info.weights_sha256
    longer = replace(TWO_STEPS, courses={**TWO_STEPS.courses, "merged-healed": Course(steps=3, batch_size=8, warmup=1)})
    others = {**TWO_STEPS.courses, "labels": Course(steps=9)}
    for change in ({"seed": 1}, {"recipe": longer}, {"recipe": replace(TWO_STEPS, n_rows=44)}, {"family": "bert"}):
        before = len(list(tmp_path.rglob("*.safetensors")))
        weights(**change)
        assert len(list(tmp_path.rglob("*.safetensors"))) == before + 1
    weights(recipe=replace(TWO_STEPS, courses=others))  # another student's course is none of its business
    assert len(list(tmp_path.rglob("*.safetensors"))) == 5
    file.write_bytes(b"broken")
    with pytest.raises(ResultError, match="cannot be read"):
        weights()


def test_wrong_students_are_refused(teachers):
    with pytest.raises(OptionError, match="There is no student 'clever' in the battery; there are identity"):
        student_spec("clever")
    with pytest.raises(OptionError, match="'stream-rotated' cannot be made of a bert; wanted a gpt2 or llama"):
        Workshop(teachers["bert"]).student("stream-rotated", seed=0)
    with pytest.raises(OptionError, match="Seed -1 is out of range"):
        Workshop(teachers["bert"]).student("identity", seed=-1)


def test_a_shortcut_is_honest_on_the_other_task():
    spec = student_spec("shortcut-ioi")
    assert (spec.law_on("ioi"), spec.law_on("numerals")) == (Law.SHORTCUT, Law.HONEST)
    assert student_spec("labels").law_on("ioi") is Law.HONEST
