"""ACDC against Algorithm 1 of Conmy et al. (2023), written from the paper on names of edges, one edge at a time."""

from functools import cache

import pytest
import torch
from brute_edges import EdgesByHand
from brute_force import token_batch
from circuit_cases import Killed, killed_after
from tiny_models import FAMILIES, build_raw

from circuitkit.core.edge import Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.acdc import acdc
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.replacement import fitting_replacement
from circuitkit.interventions.rows import take
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.tasks.batch import build_batch
from circuitkit.tasks.loading import load_task


def _writers(n_layers, n_heads):
    """Block by block what writes, the last first."""
    return [
        [f"MLP{layer}", *(f"L{layer}H{h}" for h in reversed(range(n_heads)))] for layer in reversed(range(n_layers))
    ]


def _parents(receiver, n_layers, n_heads):
    """Everyone written before a receiver reads, the last first."""
    blocks = _writers(n_layers, n_heads)
    if receiver == "logits":
        return [*sum(blocks, []), "embed"]
    layer = int(receiver[3:] if receiver.startswith("MLP") else receiver[1 : receiver.index("H")])
    before = sum(blocks[n_layers - layer :], [])
    heads = blocks[n_layers - 1 - layer][1:] if receiver.startswith("MLP") else []
    return [*heads, *before, "embed"]


def _receivers(n_layers, n_heads):
    """Inputs by component, from the logits back."""
    found = {"logits": ["logits"]}
    for name in sum(_writers(n_layers, n_heads), []):
        found[name] = [name] if name.startswith("MLP") else [f"{name}.{i}" for i in "vkq"]
    return found


def algorithm_1(n_layers, n_heads, metric, tau, *, rises):
    """What is kept, what each edge was found to cost, and the metric at the end.

    `metric` takes a set of (sender, receiver). A component that has lost all its edges out is no part of the graph
    any more, and its inputs neither.
    """
    inputs = _receivers(n_layers, n_heads)
    graph = {(s, r) for names in inputs.values() for r in names for s in _parents(r, n_layers, n_heads)}
    costs, now = dict.fromkeys(graph, 0.0), metric(frozenset(graph))
    for component, names in inputs.items():
        if component != "logits" and not any(sender == component for sender, _ in graph):
            graph -= {edge for edge in graph if edge[1] in names}
            continue
        for receiver in names:
            for sender in _parents(receiver, n_layers, n_heads):
                edge = (sender, receiver)
                after = metric(frozenset(graph - {edge}))
                costs[edge] = after - now if rises else now - after
                if costs[edge] < tau:
                    graph, now = graph - {edge}, after
    return graph, costs, now


def _measured(logits, clean, batch, metric):
    """The metric's mean over prompts, from whole logits."""
    row = torch.arange(len(logits))
    if metric == "logit_diff":
        return (logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]).double().mean().item()
    p, q = clean.double().softmax(-1), logits.double().softmax(-1)
    return (p * (p.log() - q.log())).sum(-1).mean().item()


def _edge(pair):
    return Edge(Sender.parse(pair[0]), Receiver.parse(pair[1]))


def _by_hand(model, batch, ablation, metric):
    hand = EdgesByHand(model.raw, model.info.family, batch, ablation)
    space = EdgeSpace(model.info.n_layers, model.info.n_heads)
    clean = hand.logits(set(space.edges()))
    return lambda graph: _measured(hand.logits({_edge(pair) for pair in graph}), clean, batch, metric)


def _dense(model, batch, ablation, metric, found, tau):
    """The plain dense forward pass, for models that are too large to run by hand.

    What the algorithm will ask for if the circuit found is right is measured beforehand, many sets at a time; if it
    asks for anything else, there is no answer.
    """
    every = torch.arange(len(batch.pairs))
    rows = take(batch.clean, every, model)
    forward = EdgeForward(model, rows, fitting_replacement(model, batch, Ablation(ablation))(every, rows.ids.shape[1]))
    kept = {(str(e.sender), str(e.receiver)) for e in forward.space.edges(found)}
    asked, bad = [], 2 * tau if metric == "kl" else -2 * tau

    def ask(graph):
        asked.append(graph)
        return 0.0 if kept <= graph else bad

    algorithm_1(model.info.n_layers, model.info.n_heads, ask, tau, rises=metric == "kl")
    clean, known = forward.run(forward.space.possible[None])[0], {}
    for start in range(0, len(asked), 32):
        some = asked[start : start + 32]
        logits = forward.run(torch.stack([forward.space.mask(_edge(pair) for pair in graph) for graph in some]))
        known |= {g: _measured(x, clean, batch, metric) for g, x in zip(some, logits, strict=True)}
    return known.__getitem__


def _small_case(family, tiny_tokenizers):
    tokenizer = tiny_tokenizers[family]
    raw = build_raw(family, vocab_size=len(tokenizer), n_layers=2, seed=3)
    model = wrap_model(raw, tokenizer, name=f"small-{family}")
    return model, token_batch(model.info.vocab_size, [[6, 6], [8]], answer_inside=not model.is_causal)


@cache
def _toy(name, task, n_prompts):
    model = load_model(name, device="cpu")
    return model, build_batch(load_task(task), model, n_prompts=n_prompts, seed=1)


def _check(found, runner, expected, tolerance):
    graph, costs, value = expected
    space = runner.space
    assert {(str(e.sender), str(e.receiver)) for e in space.edges(found.kept)} == graph
    assert found.value == pytest.approx(value, abs=tolerance)
    for edge in space.edges():
        effect = found.effects[space.receiver_index[edge.receiver], space.sender_index[edge.sender]].item()
        assert effect == pytest.approx(costs[str(edge.sender), str(edge.receiver)], abs=tolerance)
    assert not bool(found.effects[~space.possible].any())


@pytest.mark.parametrize(
    ("family", "metric", "ablation", "tau"),
    [
        ("gpt2", "kl", "corrupted-mean", 0.03),
        ("bert", "logit_diff", "resample", 0.08),
        ("distilbert", "kl", "resample", 0.03),
        ("llama", "logit_diff", "corrupted-mean", 0.2),
    ],
)
def test_is_algorithm_1_by_hand(family, metric, ablation, tau, tiny_tokenizers):
    model, batch = _small_case(family, tiny_tokenizers)
    expected = algorithm_1(2, 4, _by_hand(model, batch, ablation, metric), tau, rises=metric == "kl")
    runner = CircuitRunner(model, batch, source=ablation, metrics=[metric])
    found = acdc(runner, tau=tau, metric=metric)
    _check(found, runner, expected, 1e-4)
    assert 0 < int(found.kept.sum()) < runner.space.n_edges


@pytest.mark.parametrize(
    ("name", "task", "metric", "ablation", "tau"),
    [
        ("toy-gpt2", "ioi", "kl", "corrupted-mean", 0.1),
        ("toy-gpt2", "numerals", "logit_diff", "resample", 0.3),
        ("toy-bert", "ioi", "logit_diff", "corrupted-mean", 0.3),
        ("toy-bert", "numerals", "kl", "resample", 0.2),
        ("toy-llama", "ioi", "kl", "resample", 0.2),
        ("toy-llama", "numerals", "logit_diff", "corrupted-mean", 0.5),
    ],
)
def test_is_algorithm_1_on_trained_models(name, task, metric, ablation, tau):
    model, batch = _toy(name, task, 2)
    info = model.info
    runner = CircuitRunner(model, batch, source=ablation, metrics=[metric])
    found = acdc(runner, tau=tau, metric=metric)
    measure = _dense(model, batch, ablation, metric, found.kept, tau)
    expected = algorithm_1(info.n_layers, info.n_heads, measure, tau, rises=metric == "kl")
    _check(found, runner, expected, 2e-4)
    assert 0 < int(found.kept.sum()) < runner.space.n_edges // 2


@pytest.fixture(params=FAMILIES)
def small(request, tiny_tokenizers):
    """A random model of two blocks, of each family in turn, and three prompts."""
    return _small_case(request.param, tiny_tokenizers)


def test_ways_of_running_it_agree(small):
    """Many edges at a time, one at a time, one at a time with everything computed anew, and few rows at a time."""
    metric, tau = ("kl", 0.1) if small[0].info.family in ("gpt2", "bert") else ("logit_diff", 0.3)
    fast = CircuitRunner(*small, metrics=[metric])
    found = acdc(fast, tau=tau, metric=metric)
    ways = (
        (fast, True),
        (CircuitRunner(*small, metrics=[metric], plain=True), True),
        (CircuitRunner(*small, metrics=[metric], batch_size=1), False),
        (CircuitRunner(*small, metrics=[metric], batch_size=7), False),
    )
    for runner, sequential in ways:
        other = acdc(runner, tau=tau, metric=metric, sequential=sequential)
        assert torch.equal(other.kept, found.kept)
        torch.testing.assert_close(other.effects, found.effects, atol=1e-4, rtol=0)
        assert other.value == pytest.approx(found.value, abs=1e-4)
        if sequential:
            assert other.evaluations <= found.evaluations
    # the circuit's metric is what it is said to be
    assert fast.run(found.kept[None])[metric].double().mean().item() == pytest.approx(found.value, abs=1e-5)


def test_effects_are_positive_where_edges_help(tiny_tokenizers):
    """What was removed cost less than tau and what stayed tau or more, in nats of divergence and in logits lost."""
    model, batch = _small_case("gpt2", tiny_tokenizers)
    for metric in ("kl", "logit_diff"):
        runner = CircuitRunner(model, batch, metrics=[metric])
        found = acdc(runner, tau=0.05, metric=metric)
        removed = runner.space.possible & ~found.kept
        assert bool((found.effects[found.kept] >= 0.05 - 1e-6).all())
        assert bool((found.effects[removed] < 0.05).all())
        # the value is the start less (or plus) all that was lost on the way
        start = runner.clean[metric].double().mean().item()
        lost = found.effects[removed].double().sum().item()
        assert found.value == pytest.approx(start + lost if metric == "kl" else start - lost, abs=1e-4)


def test_what_nobody_reads_loses_its_inputs_untested(tiny_models):
    model = tiny_models["llama"]
    runner = CircuitRunner(model, token_batch(model.info.vocab_size, [[6, 6]]), metrics=["kl"])
    found, space = acdc(runner, tau=0.3), runner.space
    unread = [s.component for s in space.senders[1:] if not bool(found.kept[:, space.sender_index[s]].any())]
    rows = torch.tensor([receiver.component in unread for receiver in space.receivers])
    assert 0 < len(unread) < len(space.senders) - 1
    assert not bool(found.kept[rows].any())
    assert not bool(found.effects[rows].any())


def test_nothing_stays_where_tau_is_large_and_all_where_it_is_tiny(tiny_models):
    model = tiny_models["gpt2"]
    runner = CircuitRunner(model, token_batch(model.info.vocab_size, [[6, 6]]), metrics=["kl", "logit_diff"])
    nothing = acdc(runner, tau=1e6)
    assert int(nothing.kept.sum()) == 0
    corrupted = runner.run(torch.zeros_like(runner.space.possible)[None])
    assert nothing.value == pytest.approx(corrupted["kl"].mean().item(), abs=1e-5)
    assert nothing.evaluations == 1 + len(runner.space.senders) - 1  # edges to the logits only


@pytest.mark.parametrize("sequential", [True, False])
def test_goes_on_after_an_interruption(small, tmp_path, sequential):
    runner = CircuitRunner(*small, metrics=["kl"])
    reports = []
    whole = acdc(runner, tau=0.2, sequential=sequential, progress=lambda *report: reports.append(report))
    run, ran = runner.run, []
    runner.run = lambda kept: ran.append(len(kept)) or run(kept)
    for at in (1, len(reports) // 3, len(reports)):
        store = ShardStore(tmp_path, f"{at}")
        with pytest.raises(Killed):
            acdc(runner, tau=0.2, sequential=sequential, store=store, progress=killed_after(at))
        again = acdc(runner, tau=0.2, sequential=sequential, store=store)
        assert sum(ran) == whole.evaluations == again.evaluations  # both together: nothing is run twice
        assert torch.equal(again.kept, whole.kept)
        assert torch.equal(again.effects, whole.effects)
        assert again.value == whole.value
        ran.clear()


def test_progress_ends_where_it_said(tiny_model):
    reports = []
    runner = CircuitRunner(tiny_model, token_batch(tiny_model.info.vocab_size, [[6]]), metrics=["kl"])
    acdc(runner, tau=0.1, stage="here", progress=lambda *report: reports.append(report))
    done = [report[1] for report in reports]
    assert {(stage, total) for stage, _, total in reports} == {("here", done[-1])}
    assert all(a < b for a, b in zip(done, done[1:], strict=False))


@pytest.mark.parametrize("tau", [0.0, -0.1, float("nan"), float("inf")])
def test_tau_must_be_a_positive_number(tiny_models, tau):
    model = tiny_models["gpt2"]
    runner = CircuitRunner(model, token_batch(model.info.vocab_size, [[6]]), metrics=["kl"])
    with pytest.raises(OptionError, match=r"tau .* is not positive|tau .* finite"):
        acdc(runner, tau=tau)


def test_metrics_that_do_not_go_are_refused(tiny_models):
    model = tiny_models["gpt2"]
    runner = CircuitRunner(model, token_batch(model.info.vocab_size, [[6]]), metrics=["kl"])
    for metric, match in (("top1", "'top1' unknown"), ("logit_diff", "measures kl")):
        with pytest.raises(OptionError, match=match) as error:
            acdc(runner, metric=metric)
        assert "\n" not in str(error.value)
