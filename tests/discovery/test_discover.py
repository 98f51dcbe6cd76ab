"""Discovery end to end: every method, judged, resumed, and where it must refuse."""

import json
from dataclasses import fields, replace
from functools import cache

import pytest
import torch
from brute_edges import EdgesByHand
from brute_force import ablated_logit_diff, intervened_logits, replacement_value, token_batch
from circuit_cases import Killed, killed_after
from search_cases import EDGE_METHODS, OPTIONS, found_by, small_case
from tiny_models import FAMILIES, build_raw

from circuitkit.core.component import Component
from circuitkit.core.errors import CircuitKitError, OptionError
from circuitkit.discovery.discover import discover
from circuitkit.discovery.influence import influence
from circuitkit.discovery.methods import DEFAULTS, METHODS
from circuitkit.discovery.minimality import minimality
from circuitkit.discovery.search import TAKES, SearchOptions, check_options
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task

every_method = pytest.mark.parametrize("method", OPTIONS)
FIGURES = ("model_logit_diff", "corrupted_logit_diff", "circuit_logit_diff", "complement_logit_diff")


def _without_faith(circuit):
    return {
        name: x for name, x in circuit.to_dict().items() if name not in ("faithfulness", "node_effects", "settings")
    }


def test_every_method_has_its_options():
    assert set(METHODS) == set(OPTIONS) == set(TAKES) == set(DEFAULTS)
    known = {field.name for field in fields(SearchOptions)}
    for method, taken in TAKES.items():
        assert taken <= known
        assert set(DEFAULTS[method]) == taken


@every_method
def test_the_same_call_gives_the_same(method):
    again = discover(*small_case("gpt2"), method=method, bootstrap=50, **OPTIONS[method])
    assert again.to_dict() == found_by(method).to_dict()
    given = discover(*small_case("gpt2"), method=method, bootstrap=50, options=SearchOptions(**OPTIONS[method]))
    assert given.to_dict() == again.to_dict()


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
@every_method
def test_every_family(method, family):
    circuit = found_by(method, family)
    assert len(circuit.nodes) <= 10
    assert any("circuit is empty" in w for w in circuit.notices) == (not circuit.nodes)
    assert circuit.faithfulness["model_logit_diff"] > 0
    assert circuit.evaluations > 0 or method in ("eap", "eap-ig", "influence")


def _judged_by_hand(family, circuit):
    """Every figure from logits that were computed receiver by receiver on the raw modules."""
    model, batch = small_case(family)
    hand, space = EdgesByHand(model.raw, family, batch, "corrupted-mean"), circuit.space
    rest = space.possible & ~circuit.kept
    if circuit.kind == "nodes":
        rest = space.of_nodes([c for c in model.components if c not in circuit.nodes])
    sets = {
        "model": space.possible,
        "corrupted": torch.zeros_like(space.possible),
        "circuit": circuit.kept,
        "complement": rest,
    }
    logits = {name: hand.logits(set(space.edges(kept))) for name, kept in sets.items()}
    row = torch.arange(len(batch.pairs))
    diffs = {name: (x[row, batch.correct_ids] - x[row, batch.incorrect_ids]).double() for name, x in logits.items()}
    p, q = logits["model"].double().softmax(-1), logits["circuit"].double().softmax(-1)
    means = {name: x.mean().item() for name, x in diffs.items()}
    gap = means["model"] - means["corrupted"]
    return {
        **{f"{name}_logit_diff": mean for name, mean in means.items()},
        "faithfulness": (means["circuit"] - means["corrupted"]) / gap,
        "complement_share": (means["complement"] - means["corrupted"]) / gap,
        "logit_diff_share": means["circuit"] / means["model"],
        "kl": (p * (p / q).log()).sum(-1).mean().item(),
        "accuracy": {
            "model": (diffs["model"] > 0).double().mean().item(),
            "circuit": (diffs["circuit"] > 0).double().mean().item(),
            "model_top1": (logits["model"].argmax(-1) == batch.correct_ids).double().mean().item(),
            "circuit_top1": (logits["circuit"].argmax(-1) == batch.correct_ids).double().mean().item(),
        },
    }


@pytest.mark.parametrize(("family", "method"), [*zip(FAMILIES, ("acdc", "prune", "eap", "path-patching"), strict=True)])
def test_figures_are_those_by_hand(family, method):
    circuit = found_by(method, family)
    judged, expected = circuit.faithfulness, _judged_by_hand(family, circuit)
    for name, value in expected.items():
        if name == "accuracy":
            assert {k: v for k, v in judged[name].items() if k != "ci95"} == pytest.approx(value, abs=1e-6)
        else:
            found = judged[name]["mean"] if name == "kl" else judged[name]
            assert found == pytest.approx(value, abs=2e-4 * max(1, abs(value)))


def test_the_circuit_of_nodes_by_hooks_on_the_raw_modules():
    model, batch = small_case("llama")
    circuit = found_by("prune", "llama")
    edits = {
        c: (replacement_value(model.raw, "llama", c, batch, "corrupted-mean"), None)
        for c in model.components
        if c not in circuit.nodes
    }
    logits, row = intervened_logits(model.raw, "llama", edits, batch.clean), torch.arange(len(batch.pairs))
    value = (logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]).double().mean().item()
    assert circuit.faithfulness["circuit_logit_diff"] == pytest.approx(value, abs=1e-4)
    assert value >= 0.6 * circuit.faithfulness["model_logit_diff"] - 1e-4


@pytest.mark.parametrize(("family", "method"), [*zip(FAMILIES, ("influence", "acdc", "prune", "eap-ig"), strict=True)])
def test_drops_are_those_of_each_node_alone(family, method):
    model, batch = small_case(family)
    circuit = found_by(method, family)
    clean = ablated_logit_diff(model.raw, family, None, batch, "corrupted-mean")
    assert set(circuit.node_effects) == set(circuit.nodes)
    for node, effect in circuit.node_effects.items():
        fall = clean - ablated_logit_diff(model.raw, family, node, batch, "corrupted-mean")
        assert effect.drop == pytest.approx(fall.double().mean().item(), abs=1e-4)


def test_influences_drops_are_the_same_judged_or_not():
    model, batch = small_case("gpt2")
    measured = dict(zip(model.components, influence(model, batch).drops.double().mean(1).tolist(), strict=True))
    strongest = sorted(measured, key=lambda c: -measured[c])[:4]
    for judged in ("basic", "none"):
        circuit = found_by("influence", judged=judged)
        assert set(circuit.nodes) == set(strongest)
        for node in strongest:
            assert circuit.node_effects[node].drop == pytest.approx(measured[node], abs=1e-5)


def test_losses_of_pruning_are_those_of_minimality():
    """What the search noted of each node when it last tried it, and what the full judgement measures."""
    quick, full = found_by("prune"), found_by("prune", judged="full")
    alone = minimality(CircuitRunner(*small_case("gpt2")), quick.kept, kind="nodes")
    expected = {Component.parse(n): x.item() for n, x in zip(alone.names, alone.losses.double().mean(1), strict=True)}
    for circuit in (quick, full):
        assert {n: e.loss for n, e in circuit.node_effects.items()} == pytest.approx(expected, abs=1e-4)


@every_method
def test_how_much_is_judged(method):
    none, basic, full = (found_by(method, judged=judged) for judged in ("none", "basic", "full"))
    assert none.faithfulness is None
    assert _without_faith(none)["edges"] == _without_faith(basic)["edges"] == _without_faith(full)["edges"]
    assert none.nodes == basic.nodes == full.nodes
    for part in ("completeness", "minimality", "curve"):
        assert basic.faithfulness[part] is None
        assert (full.faithfulness[part] is None) == (part == "curve" and method == "prune")
    for name in (*FIGURES, "faithfulness", "kl", "accuracy", "ci95"):
        assert full.faithfulness[name] == basic.faithfulness[name]
    json.dumps(full.to_dict(), allow_nan=False)
    assert [c.settings["judge"] for c in (none, basic, full)] == ["none", "basic", "full"]


def test_intervals_can_be_turned_off():
    circuit = discover(*small_case("gpt2"), method="influence", top=3, bootstrap=0)
    assert set(circuit.faithfulness["ci95"].values()) == {None}
    assert circuit.faithfulness["kl"]["ci95"] is None


def test_nothing_is_dropped_that_asked_for_edges_does_not_say():
    """--top keeps so many edges, less those on no path from the embedding, of which it says how many there were."""
    for top in (3, 10, 25, 60):
        for method in ("eap", "eap-ig"):
            circuit = discover(*small_case("gpt2"), method=method, top=top, judged="none")
            said = [w for w in circuit.notices if "lie on no path" in w]
            gone = int(said[0].split("effects, ")[1].split(" ")[0]) if said else 0
            assert len(circuit.edges) == top - gone
            assert not said or said[0].startswith(f"Of the {top} edges")
    by_value = discover(*small_case("gpt2"), method="eap", min_effect=0.05, by="value", judged="none")
    scores = by_value.edge_effects
    said = [w for w in by_value.notices if "lie on no path" in w]
    gone = int(said[0].split("effects, ")[1].split(" ")[0]) if said else 0
    assert len(by_value.edges) + gone == int((scores[by_value.space.possible] >= 0.05).sum())
    assert all(effect >= 0.05 for effect in by_value.edges.values())


@pytest.mark.parametrize(
    ("method", "options"),
    [("eap", {"min_effect": 1e6}), ("acdc", {"tau": 1e6}), ("eap", {"top": 1}), ("influence", {"min_effect": 1.0})],
)
def test_circuits_of_nothing_are_judged_and_said_to_be_empty(method, options):
    circuit = discover(*small_case("gpt2"), method=method, bootstrap=20, judged="full", **options)
    empty = method != "influence"
    assert (len(circuit.nodes) == 0) == empty
    assert any("circuit is empty" in w for w in circuit.notices) == empty
    if empty and not circuit.edges:
        judged = circuit.faithfulness
        assert judged["circuit_logit_diff"] == pytest.approx(judged["corrupted_logit_diff"], abs=1e-5)
        assert judged["complement_logit_diff"] == pytest.approx(judged["model_logit_diff"], abs=1e-5)
        assert judged["faithfulness"] == pytest.approx(0, abs=1e-5)
    json.dumps(circuit.to_dict(), allow_nan=False)


def test_nodes_without_influence_make_an_empty_circuit():
    """Where both answers are the same, nothing has any."""
    model, batch = small_case("gpt2")
    same = replace(batch, incorrect_ids=batch.correct_ids)
    circuit = discover(model, same, method="influence", min_effect=0.5, bootstrap=10)
    assert circuit.nodes == ()
    assert any("circuit is empty" in w for w in circuit.notices)
    assert circuit.faithfulness["faithfulness"] is None
    assert any("Faithfulness is not given" in w for w in circuit.notices)


@every_method
def test_few_rows_at_a_time_find_the_same(method):
    circuit = discover(*small_case("gpt2"), method=method, batch_size=1, bootstrap=0, judged="none", **OPTIONS[method])
    expected = found_by(method, judged="none")
    assert torch.equal(circuit.kept, expected.kept)
    if circuit.edge_effects is not None:
        torch.testing.assert_close(circuit.edge_effects, expected.edge_effects, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", ["prune", "path-patching", "acdc"])
def test_sequential_finds_the_same(method):
    options = {**OPTIONS[method], "sequential": True}
    circuit = discover(*small_case("gpt2"), method=method, bootstrap=0, **options)
    expected = found_by(method)
    assert torch.equal(circuit.kept, expected.kept)
    assert circuit.settings["sequential"] is True
    assert circuit.evaluations <= expected.evaluations
    for name in FIGURES:
        assert circuit.faithfulness[name] == pytest.approx(expected.faithfulness[name], abs=1e-4)


@every_method
def test_goes_on_after_an_interruption(method, tmp_path, monkeypatch):
    run, ran, reports = CircuitRunner.run, [], []
    monkeypatch.setattr(CircuitRunner, "run", lambda self, kept: ran.append(len(kept)) or run(self, kept))
    options = {"threshold": 0.4} if method in ("eap", "eap-ig", "influence") else OPTIONS[method]

    def found(**more):
        return discover(*small_case("gpt2"), method=method, judged="none", bootstrap=0, **options, **more)

    whole = found(progress=lambda *report: reports.append(report))
    n_run = sum(ran)
    assert n_run > 0
    for at in (1, len(reports) // 2, len(reports)):
        ran.clear()
        with pytest.raises(Killed):
            found(resume=tmp_path / f"{at}", progress=killed_after(at))
        again = found(resume=tmp_path / f"{at}")
        assert again.to_dict() == whole.to_dict()
        assert torch.equal(again.kept, whole.kept)
        # path patching runs the edges that it starts from again, one circuit
        assert sum(ran) <= n_run + (method == "path-patching")


VARIATIONS = [
    ("prune", [{}, {"threshold": 0.5}, {"passes": 1, "threshold": 0.5}, {"sequential": True, "threshold": 0.5}]),
    ("acdc", [{"tau": 0.2}, {"tau": 0.5}, {"metric": "logit_diff", "tau": 0.5}, {"tau": 0.5, "sequential": True}]),
    (
        "path-patching",
        [
            {"threshold": 0.4},
            {"threshold": 0.5},
            {"threshold": 0.5, "node_threshold": 0.5},
        ],
    ),
    (
        "eap",
        [{}, {"threshold": 0.5}, {"threshold": 0.5, "by": "value"}, {"top": 9}, {"min_effect": 0.1}]
        + [{"top": 9, "metric": "probability"}],
    ),
    (
        "eap-ig",
        [{"top": 9}, {"top": 9, "steps": 2}, {"top": 9, "variant": "activations"}, {"top": 9, "metric": "kl"}],
    ),
    ("influence", [{}, {"threshold": 0.6}, {"top": 2}, {"min_effect": 0.5}]),
]


@pytest.mark.parametrize(("method", "variations"), VARIATIONS, ids=[method for method, _ in VARIATIONS])
def test_pieces_of_other_searches_are_not_taken_for_ours(method, variations, tmp_path):
    """All in one folder, one after the other, and each as without the folder."""
    model, batch = small_case("gpt2")
    other = replace(batch, correct_ids=batch.incorrect_ids, incorrect_ids=batch.correct_ids)
    for options in variations:
        for ablation in ("corrupted-mean", "resample") if options is variations[0] else ("corrupted-mean",):
            given = {"method": method, "judged": "none", "ablation": ablation, **options}
            kept = discover(model, batch, resume=tmp_path, **given)
            assert kept.to_dict() == discover(model, batch, **given).to_dict()
    if method in ("eap", "acdc"):  # the answers swapped
        given = {"method": method, "judged": "none", **variations[-1 if method == "eap" else 2]}
        assert discover(model, other, resume=tmp_path, **given).to_dict() == discover(model, other, **given).to_dict()


def test_gradients_serve_every_size(tmp_path, monkeypatch):
    model, batch = small_case("gpt2")
    discover(model, batch, method="eap", top=5, judged="none", resume=tmp_path)
    monkeypatch.setattr("circuitkit.interventions.edge_sums.EdgeAttribution", None)  # would be called
    assert len(discover(model, batch, method="eap", min_effect=0.1, judged="none", resume=tmp_path).edges) > 0


@pytest.mark.parametrize("ablation", ["mean", "zero"])
@every_method
def test_prompts_without_corrupted_ones(method, ablation):
    model, batch = small_case("gpt2")
    batch = replace(batch, corrupted=None)
    circuit = discover(model, batch, method=method, ablation=ablation, bootstrap=10, **OPTIONS[method])
    assert circuit.settings["ablation"] == ablation
    assert circuit.faithfulness["model_logit_diff"] > 0
    with pytest.raises(OptionError, match="corrupted") as error:
        discover(model, batch, method=method, **OPTIONS[method])
    assert "\n" not in str(error.value)


def test_one_prompt():
    model = small_case("gpt2")[0]
    batch = token_batch(model.info.vocab_size, [[6]])
    for method in ("prune", "path-patching"):
        with pytest.raises(OptionError, match="one prompt has no standard error"):
            discover(model, batch, method=method)
    for method, options in (("eap", {}), ("influence", {"threshold": 0.3})):
        with pytest.raises(OptionError, match="one prompt has no standard error"):
            discover(model, batch, method=method, **options)
    for method in ("acdc", "eap", "eap-ig", "influence"):
        circuit = discover(model, batch, method=method, bootstrap=20, judged="full", **OPTIONS[method])
        json.dumps(circuit.to_dict(), allow_nan=False)
        assert circuit.faithfulness["faithfulness"] is None
        assert any("Faithfulness is not given, nor are intervals" in w for w in circuit.notices)
        judged = circuit.faithfulness
        assert set(judged["ci95"].values()) == set(judged["completeness"]["ci95"].values()) == {None}
        assert set(judged["accuracy"]["ci95"].values()) == {judged["kl"]["ci95"]} == {None}
        parts = judged["minimality"]["parts"].values()
        assert all(part["loss_ci95"] is part["drop_ci95"] is None for part in parts)


def test_a_model_that_does_not_do_the_task(tiny_models):
    model = tiny_models["gpt2"]
    batch = token_batch(model.info.vocab_size, [[6] * 8], seed=3)
    for method in OPTIONS:
        if method == "acdc":
            circuit = discover(model, batch, method=method, tau=0.3, bootstrap=10)
            assert circuit.edges is not None
            continue
        with pytest.raises(OptionError, match="not clearly above 0") as error:
            discover(model, batch, method=method)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "options", "match"),
    [
        ("prune", {"tau": 0.1}, "'prune' does not take --tau"),
        ("prune", {"top": 3}, "does not take --top"),
        ("acdc", {"threshold": 0.1}, "does not take --threshold; it takes metric, sequential, tau"),
        ("acdc", {"metric": "probability"}, "cannot be watched by acdc"),
        ("acdc", {"tau": 0.0}, "tau 0 is not positive"),
        ("acdc", {"tau": float("nan")}, "no finite number"),
        ("eap", {"steps": 3}, "does not take --steps"),
        ("eap", {"variant": "inputs"}, "does not take --variant"),
        ("eap", {"sequential": True}, "does not take --sequential"),
        ("eap", {"metric": "kl"}, "eap-ig"),
        ("eap", {"by": "rank"}, "--by 'rank' unknown"),
        ("eap", {"top": 0}, "--top 0 is too few"),
        ("eap", {"top": 111}, "the model has 110"),
        ("eap", {"min_effect": float("inf")}, "no finite number"),
        ("eap", {"min_effect": -1.0}, "above 0"),
        ("eap-ig", {"min_effect": 0.0}, "above 0, or --by value"),
        ("eap-ig", {"min_effect": float("nan"), "by": "value"}, "no finite number"),
        ("eap-ig", {"top": 3, "threshold": 0.1}, "--threshold and --top each say"),
        ("eap-ig", {"top": 3, "steps": 0}, "steps"),
        ("eap-ig", {"top": 3, "variant": "outputs"}, "'outputs' unknown"),
        ("influence", {"top": 3, "min_effect": 0.1}, "--top and --min-effect each say"),
        ("influence", {"top": 11}, "give 1 to 10"),
        ("influence", {"min_effect": 2.0}, "above 0 and at most 1"),
        ("influence", {"min_effect": 0.0}, "above 0 and at most 1"),
        ("influence", {"min_effect": float("nan")}, "no finite number"),
        ("influence", {"threshold": 1.0}, "between 0 and 1"),
        ("path-patching", {"nodes": "some"}, "choose pruned or all"),
        ("path-patching", {"nodes": "all", "node_threshold": 0.1}, "give one of them"),
        ("path-patching", {"threshold": float("nan")}, "no finite number"),
        ("prune", {"passes": 0}, "--passes 0 is too few"),
        ("prune", {"nonsense": 1}, "'nonsense' of discover unknown"),
        ("guess", {}, "Method 'guess' unknown"),
        ("prune", {"judged": "some"}, "'some' unknown"),
        ("prune", {"bootstrap": -1}, "-1 bootstrap draws"),
        ("prune", {"ablation": "none"}, "none"),
        ("prune", {"seed": -1}, "-1"),
        ("prune", {"batch_size": 0}, "not positive"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(method, options, match):
    with pytest.raises(CircuitKitError, match=match) as error:
        discover(*small_case("gpt2"), method=method, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["eap", "eap-ig", "influence"])
@pytest.mark.parametrize("least", [-0.1, 0.0, float("inf"), float("nan")])
def test_a_least_effect_is_checked_before_anything_runs(method, least):
    ran = []
    with pytest.raises(OptionError, match="--min-effect"):
        discover(*small_case("gpt2"), method=method, min_effect=least, progress=lambda *given: ran.append(given))
    assert not ran


def test_least_effects_that_hold():
    check_options("influence", SearchOptions(min_effect=1.0))
    check_options("eap", SearchOptions(min_effect=1e-9))
    check_options("eap", SearchOptions(min_effect=40.0, by="size"))
    for least in (-2.0, 0.0, 2.0):
        check_options("eap-ig", SearchOptions(min_effect=least, by="value"))


def test_options_by_name_go_over_those_in_a_record():
    circuit = discover(
        *small_case("gpt2"), method="influence", options=SearchOptions(top=2), judged="none", **{"top": 3}
    )
    assert len(circuit.nodes) == 3
    assert circuit.settings["top"] == 3
    assert circuit.settings["threshold"] is None  # not a rule of this search
    assert found_by("prune").settings["passes"] is None
    assert found_by("prune").settings["sequential"] is False


@cache
def _toy():
    return load_model("toy-gpt2", device="cpu")


def test_a_task_by_name_is_drawn_and_described():
    circuit = discover(_toy(), load_task("numerals"), method="influence", n_prompts=6, seed=3, bootstrap=20)
    assert circuit.task["name"] == "numerals"
    assert circuit.task["n_prompts"] == 6
    assert circuit.settings["n_prompts"] == 6
    assert circuit.faithfulness["logit_diff_share"] >= 0.8
    assert 0 < len(circuit.nodes) < 20
    other = discover(_toy(), load_task("numerals"), method="influence", n_prompts=6, seed=4, bootstrap=20)
    assert other.faithfulness["model_logit_diff"] != circuit.faithfulness["model_logit_diff"]


def test_prompts_that_cannot_be_used_are_shown(tmp_path):
    text = "When {0} and {1} went to the store, {1} gave a ring to"
    names = [("Mary", "John"), ("Tom", "James"), ("John", "Tom"), ("James", "Mary")]
    rows = [
        {"clean": text.format(a, b), "corrupted": text.format("Dan", "Sid"), "correct": f" {a}", "incorrect": f" {b}"}
        for a, b in names
    ]
    rows.append(rows[0] | {"clean": 300 * "Then " + rows[0]["clean"]})
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    circuit = discover(_toy(), load_task(str(file)), method="acdc", tau=0.5, judged="none")
    assert circuit.task["n_prompts"] == 4
    assert circuit.task["n_dropped"] == 1
    assert circuit.to_dict()["task"]["dropped"][0]["index"] == 4


def test_half_precision_is_said(tiny_tokenizers):
    tokenizer = tiny_tokenizers["gpt2"]
    raw = build_raw("gpt2", vocab_size=len(tokenizer), n_layers=2, seed=3).to(torch.bfloat16)
    model, batch = wrap_model(raw, tokenizer, name="half"), small_case("gpt2")[1]
    for method in OPTIONS:
        circuit = discover(model, batch, method=method, bootstrap=10, as_loaded=True, **OPTIONS[method])
        json.dumps(circuit.to_dict(), allow_nan=False)
        assert circuit.made_with["dtype"] == "bfloat16"
        assert any("ran in bfloat16" in w for w in circuit.notices)
        full = found_by(method).faithfulness
        assert circuit.faithfulness["model_logit_diff"] == pytest.approx(full["model_logit_diff"], rel=0.1)
        if method in EDGE_METHODS:
            assert circuit.edge_effects.dtype == torch.float32


def test_progress_reports_stay_within_what_they_said():
    for method in OPTIONS:
        reports = []
        discover(
            *small_case("gpt2"),
            method=method,
            bootstrap=0,
            judged="full",
            progress=lambda *report: reports.append(report),  # noqa: B023 - called before the next turn
            **OPTIONS[method],
        )
        assert all(0 <= done <= total for _, done, total in reports)
        last = {stage: (done, total) for stage, done, total in reports}
        assert all(done == total for done, total in last.values()), last


def test_a_model_that_does_the_opposite_is_named_whatever_the_method(small_case_of_the_opposite):
    model, batch = small_case_of_the_opposite
    for options in ({"method": "acdc", "tau": 5.0}, {"method": "influence", "top": 3}, {"method": "eap", "top": 5}):
        circuit = discover(model, batch, judged="none", **options)
        assert any("does not do this task" in notice for notice in circuit.notices)
        assert circuit.settings["n_prompts"] == len(batch.pairs)


@pytest.fixture
def small_case_of_the_opposite():
    model = load_model("toy-distilgpt2")
    batch = build_batch(load_task("ioi"), model, n_prompts=8)
    return model, replace(batch, correct_ids=batch.incorrect_ids, incorrect_ids=batch.correct_ids)
