"""Reports of runs that `align` and `influence` saved: the contract between measuring and drawing."""

import pytest

import circuitkit as ck
from circuitkit.core.run_directory import save_run
from circuitkit.reports.jupyter import alignment_html, influence_html

CASES = {
    "same family": ("gpt2", "gpt2", {"null": "both"}),
    "other tokenizer": ("gpt2", "distilbert", {"matching": "hungarian", "bootstrap": 0, "null": "none"}),
    "masked, soft": ("bert", "distilbert", {"matching": "soft", "null": "shuffle"}),
    "few, reversed": ("llama", "gpt2", {"direction": "student", "top_k": 4, "normalize": "l1", "null": "shuffle"}),
}


@pytest.mark.parametrize("case", CASES)
def test_alignments_are_drawn(case, tiny_models, tmp_path):
    teacher, student, options = CASES[case]
    task = ck.load_task("months")
    result = ck.align(tiny_models[teacher], tiny_models[student], task, n_prompts=16, **options)
    text = ck.report(result.save(tmp_path / "run")).read_text(encoding="utf-8")
    assert '<span class="score-value">' + f"{result.score:.3f}".replace("-", "\u2212") in text
    assert text.count('<div class="attention"') == len(result.examples) > 0
    assert f"All {len(result.matching.teacher)} matched pairs" in text
    assert f"tiny-{student}" in alignment_html(result.to_dict())


def test_several_tasks_are_drawn(tiny_models, tmp_path):
    models = tiny_models["gpt2"], tiny_models["gpt2"]
    tasks = {name: ck.align(*models, ck.load_task(name), n_prompts=16).to_dict() for name in ("ioi", "numerals")}
    run = save_run(tmp_path / "run", {"schema": "circuitkit.alignment-table/1", "tasks": tasks}, {}, {})
    text = ck.report(run).read_text(encoding="utf-8")
    assert text.count('<section id="task-') == 2


def test_influences_are_drawn(tiny_models, tmp_path):
    sweep = ck.influence(tiny_models["llama"], ck.load_task("numerals"), n_prompts=16)
    text = ck.report(sweep.save(tmp_path / "run")).read_text(encoding="utf-8")
    assert f"All {len(sweep.components)} components of tiny-llama" in text
    assert "tiny-llama" in influence_html(sweep.to_dict())
