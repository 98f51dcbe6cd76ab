"""Reports of what was measured: the contract between measuring and drawing."""

from dataclasses import asdict

import pytest
import torch

import circuitkit as ck
from circuitkit.core.run_directory import save_run
from circuitkit.discovery.completeness import completeness
from circuitkit.discovery.curve import curve
from circuitkit.discovery.faithfulness import faithfulness
from circuitkit.discovery.minimality import minimality
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.reports.circuit_summary import circuit_summary
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


@pytest.mark.parametrize(("kind", "bootstrap"), [("nodes", 0), ("edges", 40)])
def test_judgements_of_circuits_are_drawn(kind, bootstrap, tiny_models, tmp_path):
    model, task = tiny_models["gpt2"], ck.load_task("months")
    batch = ck.tasks.batch.build_batch(task, model, n_prompts=16)
    runner = CircuitRunner(model, batch, metrics=("logit_diff", "kl", "top1"))
    space, nodes = runner.space, model.components[::2]
    kept = space.of_nodes(nodes) if kind == "nodes" else space.between(nodes)
    options = {"kind": kind, "bootstrap": bootstrap}
    parts = minimality(runner, kept, **options).to_dict()
    judged = faithfulness(runner, kept, **options).to_dict()
    scores = torch.randn(kept.shape if kind == "edges" else (len(model.components),), generator=torch.manual_seed(0))
    grown = curve(runner, scores, sizes=(0.1, 0.5, 1.0), n_random=1, **options).to_dict()
    result = {
        "schema": "circuitkit.circuit/1",
        "model": asdict(model.info),
        "task": {"name": "months", "n_prompts": len(batch.pairs), "n_dropped": 0},
        "settings": {"method": "by hand", "ablation": "corrupted-mean"},
        "method": "by hand",
        "kind": kind,
        "nodes": [str(node) for node in nodes],
        "node_effects": {},
        "edges": None
        if kind == "nodes"
        else [{"sender": str(e.sender), "receiver": str(e.receiver), "effect": None} for e in space.edges(kept)],
        "n_possible": {"nodes": len(model.components), "edges": space.n_edges},
        "faithfulness": {
            **judged,
            "minimality": parts,
            "curve": grown,
            "completeness": completeness(runner, kept, **options).to_dict(),
        },
        "warnings": [],
    }
    text = ck.report(save_run(tmp_path / "run", result, {}, {})).read_text(encoding="utf-8")
    assert f"{judged['kl']['mean']:.3f}</dd>" in text
    loss = f"{next(iter(parts['parts'].values()))['loss']:.3f}".replace("-", "\u2212")
    assert f"<td>{loss}" in text and "Completeness gap" in text
    assert ('id="curve"' in text) is (grown["faithfulness"] is not None)
    assert "tiny-gpt2" in circuit_summary(result)
