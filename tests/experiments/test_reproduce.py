"""Reproductions: what is run and skipped, resuming, what stands beside what, and claims judged by rule."""

import json
from dataclasses import replace

import pytest

from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.run_directory import load_run
from circuitkit.experiments.experiment import experiment
from circuitkit.experiments.published.figures import published
from circuitkit.experiments.reproduce import pairs as pairs_module
from circuitkit.experiments.reproduce.claims import judge_claims, pairs_in_order
from circuitkit.experiments.reproduce.comparison import comparison_table
from circuitkit.experiments.reproduce.measured import measured_figures
from circuitkit.experiments.reproduce.measured_figure import Measured
from circuitkit.experiments.reproduce.pairs import PairNames, choose_pairs, parse_pairs
from circuitkit.experiments.reproduce.plan import plan_studies
from circuitkit.experiments.reproduce.reproduce import reproduce
from circuitkit.experiments.study import Study
from circuitkit.models.loading import load_model
from circuitkit.reports.html import report
from circuitkit.tasks.loading import load_task

PAIR = "toy-gpt2/toy-distilgpt2"
STUDIES = ("cross-task", "definitions", "reliance", "sensitivity", "robustness")
OPTIONS = {"pairs": PAIR, "tasks": ["numerals", "ioi", "numwords"], "studies": STUDIES, "n_prompts": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def told():
    return []


@pytest.fixture(scope="module")
def done(folder, told):
    return reproduce(**OPTIONS, bootstrap=50, device="cpu", resume=folder, say=told.append)


def test_pairs_are_read():
    assert [str(p) for p in parse_pairs(f"{PAIR}, a:b/c")] == [PAIR, "a/b/c"]
    llama = parse_pairs("meta-llama/Llama-3.1-8B/nvidia/Llama-3.1-Minitron-4B-Depth-Base")
    assert llama == (PairNames(teacher="meta-llama/Llama-3.1-8B", student="nvidia/Llama-3.1-Minitron-4B-Depth-Base"),)
    for text in ("gpt2", "a/b/c", ":b", "a/", ""):
        with pytest.raises(OptionError, match="--pairs"):
            parse_pairs(text)


def test_pairs_that_are_not_at_hand_are_named(monkeypatch):
    monkeypatch.setattr(pairs_module, "in_cache", lambda repo: repo in ("gpt2", "distilbert/distilgpt2"))
    run, skipped = choose_pairs(None)
    assert [str(p) for p in run] == [
        "gpt2/distilbert/distilgpt2",
        PAIR,
        "toy-bert/toy-distilbert",
        "toy-llama/toy-minitron",
    ]
    assert [s.what for s in skipped] == [
        "bert-base-uncased/distilbert-base-uncased",
        "meta-llama/Llama-3.1-8B/nvidia/Llama-3.1-Minitron-4B-Depth-Base",
    ]
    assert all("hub cache" in s.why and "downloads nothing" in s.why for s in skipped)
    with pytest.raises(ModelError, match="No pair to run.*nobody"):
        choose_pairs((PairNames(teacher="nobody", student="toy-gpt2"),))
    with pytest.raises(OptionError, match="twice"):
        choose_pairs(parse_pairs(f"{PAIR},{PAIR}"))


def test_bad_options_are_told_in_a_line():
    for options, words in (
        ({"paper": "another"}, "Paper 'another'"),
        ({"studies": ["nose"]}, "'nose'"),
        ({"n_prompts": 0}, "0 prompts"),
        ({"bootstrap": -1}, "-1 bootstrap"),
    ):
        with pytest.raises(OptionError, match=words) as caught:
            reproduce(**options)
        assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match="no such directory"):
        reproduce(pairs="./nowhere:toy-gpt2")


def test_large_pairs_are_run_on_few_prompts_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr("circuitkit.experiments.reproduce.plan.MANY_COMPONENTS", 19)  # the teacher has 20
    said: list[str] = []
    options = {"pairs": PAIR, "tasks": ["numerals"], "studies": ["robustness"], "bootstrap": 0, "device": "cpu"}
    few = reproduce(**options, say=said.append).to_dict()
    words = "32 prompts of each task instead of 384, as the teacher has 20 heads and MLPs; --n-prompts takes more."
    assert few["tasks"][0]["n_prompts"] == 32
    assert few["warnings"] == [f"{PAIR}: {words}"] == said[:1]
    asked = reproduce(**options, n_prompts=16).to_dict()
    assert asked["tasks"][0]["n_prompts"] == 16 and not asked["warnings"]


def test_every_study_is_that_of_the_command(done):
    own = done.pairs[0].studies
    assert list(own) == [p.run for p in plan_studies(STUDIES, OPTIONS["tasks"])]
    models = [load_model(name, device="cpu") for name in PAIR.split("/")]
    alone = experiment("robustness", *models, load_task("ioi"), n_prompts=16, bootstrap=50)
    assert alone.to_dict()["tables"] == own["robustness-ioi"].to_dict()["tables"]


def test_what_is_finished_is_not_run_again(done, folder, told):
    again: list[str] = []
    second = reproduce(**OPTIONS, bootstrap=50, device="cpu", resume=folder, say=again.append)
    assert second.to_dict() == done.to_dict()
    assert all(line.endswith("finished before") for line in again)
    assert [line.rsplit(":", 1)[0] for line in again] == [line.rsplit(":", 1)[0] for line in told]
    other: list[str] = []
    reproduce(**{**OPTIONS, "studies": ["robustness"], "tasks": ["ioi"]}, bootstrap=40, resume=folder, say=other.append)
    assert not any(line.endswith("finished before") for line in other)  # other options are another run


def test_an_interrupted_run_goes_on(tmp_path):
    told: list[str] = []

    def stop(line):
        told.append(line)
        if len(told) == 2:
            raise KeyboardInterrupt

    few = {**OPTIONS, "studies": ["cross-task", "robustness"], "tasks": ["ioi", "numerals"]}
    with pytest.raises(KeyboardInterrupt):
        reproduce(**few, bootstrap=0, resume=tmp_path, say=stop)
    after: list[str] = []
    whole = reproduce(**few, bootstrap=0, resume=tmp_path, say=after.append)
    assert [line.endswith("finished before") for line in after] == [True, True, False]
    assert whole.to_dict()["tables"] == reproduce(**few, bootstrap=0).to_dict()["tables"]


def test_the_run_holds_every_study_and_a_page(done, tmp_path):
    path = done.save(tmp_path / "run")
    record = load_run(path, schema="circuitkit.reproduction/1").result
    assert sorted(record["runs"]) == sorted(f"toy-gpt2-toy-distilgpt2-{run}" for run in done.pairs[0].studies)
    for run, study in done.pairs[0].studies.items():
        assert Study.load(path / f"toy-gpt2-toy-distilgpt2-{run}").to_dict() == study.to_dict()
    page = report(path).read_text()
    for words in ("Claims of the paper on each pair", "gpt2/distilgpt2, not these", "Table 3", "bert_head_hook"):
        assert words in page
    assert json.loads(json.dumps(done.to_dict()))["pairs"][0]["same_models"] is False
    done.save(path)  # a run replaces its like


def test_figures_of_other_models_are_marked_and_shown_with_each_definition(done):
    rows = done.pairs[0].compared.frame()
    assert set(rows.loc[rows["of"].notna(), "of"]) == {"gpt2/distilgpt2, not these"}
    ioi = rows[(rows["quantity"] == "alignment") & (rows["task"] == "ioi")]
    variants = done.pairs[0].studies["definitions"].frame("variants").set_index(["task", "variant"])["score"]
    paper = ioi[ioi["paper"].notna()]
    assert list(paper["ours"]) == [variants["ioi", name] for name in ("text", "l1-abs", "notebook")]
    assert set(paper["paper"]) == {0.9182}
    notebook = ioi[ioi["notebook"].notna()]
    assert list(notebook["ours"]) == [variants["ioi", "notebook-zero"]]
    assert list(notebook["notebook"]) == [0.9]
    drops = rows[(rows["quantity"] == "mean drop") & (rows["task"] == "numerals")].set_index("model")
    assert list(drops.loc[["teacher", "student"], "paper"]) == [3.0561, 12.2401]
    own = done.pairs[0].studies["robustness-numerals"].frame("summary").set_index("quantity")
    assert drops.loc["student", "ours"] == own.loc["mean drop", "student"]


def test_figures_of_the_very_models_go_by_component():
    def one(component, role, variant):
        words = {"definition": "", "study": "roles", "side": "teacher", "value": -1.0}
        return Measured(quantity="role_drop", task="numerals", component=component, role=role, variant=variant, **words)

    ours = [one("L3H3", "numeral-mover", "whole model"), one("L7H11", None, "whole model, named")]
    pair = published().pairs["gpt2/distilgpt2"]
    same = comparison_table("", ours, pair, same=True, tasks=["numerals"]).frame()
    other = comparison_table("", ours, pair, same=False, tasks=["numerals"]).frame()
    mover = same[same["ours"].notna()]
    assert list(mover["component"]) == ["numeral-mover: L7H11"]
    assert list(mover["paper"]) == [-41.64]
    assert list(other["component"]) == ["numeral-mover: L3H3 (theirs L7H11)"]
    assert len(same) > len(other)  # what was printed of these very models is shown even where ours is missing


def with_rows(study, table, change):
    rows = tuple(change(dict(row)) for row in study.tables[table].rows)
    return replace(study, tables={**study.tables, table: replace(study.tables[table], rows=rows)})


def verdicts(studies):
    return {c.claim.split(":")[0].split(".")[0]: c for c in judge_claims(studies, published().pairs["gpt2/distilgpt2"])}


def test_claims_follow_their_rules(done):
    studies = done.pairs[0].studies
    better = with_rows(
        studies["cross-task"],
        "tasks",
        lambda row: {**row, "before": row["score"] - 0.1, "p": 0.001, "delta": 1 - row["score"]},
    )
    worse = with_rows(
        better, "tasks", lambda row: {**row, "before": row["score"] + 0.1, "p": 0.5, "delta": row["score"]}
    )
    for study, verdict, null in ((better, "holds", True), (worse, "does not hold", False)):
        found = verdicts({**studies, "cross-task": study})
        claim = found["The score measures what distillation preserved"]
        assert (claim.verdict, claim.null, claim.control) == (verdict, null, null)
        assert found["Over tasks, alignment is lower where the gap in logit difference is larger"].verdict == verdict
    fewer = with_rows(
        studies["reliance"],
        "differences",
        lambda row: {
            **row,
            "effective_ci95": (-2.0, -1.0),
            "thinned_p": 0.01,
            "mean_drop_ci95": (-1.0, 1.0),
            "beyond_count_ci95": (-1.0, 1.0),
        },
    )
    found = verdicts({**studies, "reliance": fewer})
    assert (found["Students rely on fewer components"].verdict, found["Students rely on fewer components"].null) == (
        "holds",
        True,
    )
    assert found["Losing one component costs the student more"].verdict == "does not hold"
    assert verdicts({})["Alignment falls as noise grows on the student's activations"].verdict == "not comparable"


def test_the_order_of_pairs_needs_three(done):
    studies = done.pairs[0].studies
    assert pairs_in_order({"a": studies, "b": studies}) is None
    shifted = {
        name: {
            "sensitivity": with_rows(
                studies["sensitivity"], "cells", lambda row, add=add: {**row, "score": row["score"] + add}
            )
        }
        for name, add in (("a", 0.0), ("b", 1.0), ("c", 0.5))
    }
    claim = pairs_in_order(shifted)
    assert claim is not None
    assert claim.verdict == "holds"
    assert "b > c > a under 9 of 9" in claim.evidence


def test_measured_figures_are_those_of_the_tables(done):
    found = measured_figures(done.pairs[0].studies)
    tasks = done.pairs[0].studies["cross-task"].frame("tasks").set_index("task")
    for one in found:
        if one.quantity == "delta":
            assert one.value == tasks.loc[one.task, "delta"]
            assert one.study == "cross-task"
    cells = [one for one in found if one.quantity.startswith("alignment ")]
    assert len(cells) == 9 * 3


def test_runs_of_two_pairs_do_not_share_names(tiny_dirs, tmp_path):
    folder = tmp_path / "toy-distilgpt2"
    folder.symlink_to(tiny_dirs["gpt2"])
    with pytest.raises(OptionError, match="share the names"):
        reproduce(pairs=[("toy-gpt2", "toy-distilgpt2"), ("toy-gpt2", str(folder))])
