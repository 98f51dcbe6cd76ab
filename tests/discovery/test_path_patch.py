"""Direct paths against hooks on the raw modules that freeze all else, and against the plain pass over edges."""

import itertools

import pytest
import torch
from brute_force import _place, forward, intervened_logits, read, replacement_value, token_batch
from circuit_cases import Killed, killed_after, solvable_batch

from circuitkit.core.component import Component
from circuitkit.core.edge import Edge, EdgeSpace, Receiver, Sender
from circuitkit.core.errors import OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.path_patch import AT_ONCE, edge_effects, path_patch
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.replacement import replacement
from circuitkit.interventions.rows import take

EXACT = {"atol": 1e-4, "rtol": 0}


def _diff(logits, batch):
    row = torch.arange(len(logits))
    return logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]


def _written_when_frozen(model, receiver, edits, batch):
    """What an MLP writes while other components are held at given values: prompt by prompt."""
    family, out = model.info.family, torch.zeros(*batch.clean.ids.shape, model.info.d_model)
    for row, (ids, mask) in enumerate(zip(batch.clean.ids, batch.clean.mask, strict=True)):
        handles = [
            _place(model.raw, family, c, lambda old, new=value[row][mask][None]: old.copy_(new))
            for c, value in edits.items()
        ]
        handles.append(
            _place(
                model.raw,
                family,
                receiver,
                lambda old, row=row, mask=mask: out[row].masked_scatter_(mask[:, None], old[0]),
            )
        )
        try:
            forward(model.raw, ids[mask][None], mask[mask][None])
        finally:
            for handle in handles:
                handle.remove()
    return out


@pytest.mark.parametrize("ablation", ["corrupted-mean", "resample"])
def test_paths_into_mlps_and_logits_by_freezing_everything(tiny_model, ablation):
    """Wang et al.'s recipe in two runs of the raw model: all else frozen, then what the receiver wrote put in place."""
    model, family, batch = tiny_model, tiny_model.info.family, solvable_batch(tiny_model)
    clean = {c: read(model.raw, family, c, batch.clean) for c in model.components}
    last = model.info.n_layers - 1
    senders = [Component(0, 1), Component(0), Component(last - 1, 2), Component(last, 3)]
    found = path_patch(model, batch, list(map(str, senders)), [f"MLP{last}", "logits"], ablation=ablation)
    intact = _diff(intervened_logits(model.raw, family, {}, batch.clean), batch)
    torch.testing.assert_close(found.clean, intact, **EXACT)
    assert bool(found.possible.all())
    for column, sender in enumerate(senders):
        frozen = clean | {sender: replacement_value(model.raw, family, sender, batch, ablation)}
        edits = {c: (value, None) for c, value in frozen.items()}
        direct = _diff(intervened_logits(model.raw, family, edits, batch.clean), batch)
        torch.testing.assert_close(found.effects[1, column], intact - direct, **EXACT)
        mlp = Component(last)
        written = _written_when_frozen(model, mlp, {c: v for c, v in frozen.items() if c != mlp}, batch)
        through = _diff(intervened_logits(model.raw, family, {mlp: (written, None)}, batch.clean), batch)
        torch.testing.assert_close(found.effects[0, column], intact - through, **EXACT)


def _one_by_one(model, batch, ablation, edges):
    """Logit differences with each edge corrupted alone, in a plain pass of its own."""
    rows = torch.arange(len(batch.pairs))
    taken = take(batch.clean, rows, model)
    values = replacement(model, batch, Ablation(ablation))(rows, taken.ids.shape[1])
    plain, space = EdgeForward(model, taken, values), EdgeSpace(model.info.n_layers, model.info.n_heads)
    return torch.stack([_diff(plain.run((space.possible & ~space.mask([e]))[None])[0], batch) for e in edges])


def test_every_kind_of_path(tiny_model):
    batch, last = solvable_batch(tiny_model), tiny_model.info.n_layers - 1
    senders = ["embed", "L0H2", "MLP0", f"L{last}H0"]
    receivers = ["L0H1.v", f"L{last}H1.q", f"L{last}H1.k", f"L{last}H3.v", "MLP0", f"MLP{last}", "logits"]
    found = path_patch(tiny_model, batch, senders, receivers, ablation="resample")
    space = EdgeSpace(tiny_model.info.n_layers, tiny_model.info.n_heads)
    for (r, receiver), (s, sender) in itertools.product(enumerate(found.receivers), enumerate(found.senders)):
        upstream = space.senders[: space.n_upstream(receiver)]
        assert bool(found.possible[r, s]) == (sender in upstream)
        if sender in upstream:
            patched = _one_by_one(tiny_model, batch, "resample", [Edge(sender, receiver)])[0]
            torch.testing.assert_close(found.effects[r, s], found.clean - patched, **EXACT)
        else:
            assert not bool(found.effects[r, s].any())
    assert found.effects[found.possible].abs().amax(-1).min() > 1e-5
    exact = found.effects.double()
    torch.testing.assert_close(found.mean, exact.sum(-1) / 8)
    torch.testing.assert_close(found.standard_error, ((exact - found.mean[..., None]) ** 2).sum(-1).div(7 * 8).sqrt())


def test_other_metrics_have_their_sign(tiny_model):
    """KL rises where logit difference and probability fall."""
    batch, last = solvable_batch(tiny_model), tiny_model.info.n_layers - 1
    kl = path_patch(tiny_model, batch, ["embed"], ["logits"], metric="kl")
    assert bool((kl.effects > 0).all())
    torch.testing.assert_close(kl.clean, torch.zeros(8), **EXACT)
    runner = CircuitRunner(tiny_model, batch, metrics=["probability"])
    edge = Edge(Sender.parse(f"MLP{last}"), Receiver())
    patched = runner.run((runner.space.possible & ~runner.space.mask([edge]))[None])["probability"][0]
    found = path_patch(tiny_model, batch, [edge.sender], [edge.receiver], metric="probability")
    torch.testing.assert_close(found.effects[0, 0], runner.clean["probability"] - patched)


def test_goes_on_after_an_interruption(tiny_models, tmp_path):
    model, batch = tiny_models["gpt2"], solvable_batch(tiny_models["gpt2"])
    runner, store, reports = CircuitRunner(model, batch), ShardStore(tmp_path, "key"), []
    edges = runner.space.edges()
    whole = edge_effects(runner, edges, progress=lambda *report: reports.append(report))
    assert [r[2] for r in reports] == [reports[-1][1]] * len(reports)
    assert len(reports) == len(runner.space.receivers)
    with pytest.raises(Killed):
        edge_effects(runner, edges, store=store, progress=killed_after(20))
    run, ran = runner.run, []
    runner.run = lambda kept: ran.append(len(kept)) or run(kept)
    assert torch.equal(edge_effects(runner, edges, store=store), whole)
    assert len(ran) == len(reports) - 20
    assert torch.equal(edge_effects(runner, edges, store=store), whole)
    assert len(ran) == len(reports) - 20


def test_more_paths_into_one_receiver_than_run_at_once(tiny_models):
    model, batch = tiny_models["bert"], solvable_batch(tiny_models["bert"])
    runner = CircuitRunner(model, batch)
    edges = [edge for edge in runner.space.edges() if edge.receiver == Receiver()]
    found = edge_effects(runner, 5 * edges + runner.space.edges()[:3])
    assert 5 * len(edges) > AT_ONCE
    for again in range(5):
        part = found[again * len(edges) : (again + 1) * len(edges)]
        torch.testing.assert_close(part, found[: len(edges)], **EXACT)
    patched = _one_by_one(model, batch, "corrupted-mean", edges)
    torch.testing.assert_close(runner.clean["logit_diff"] - found[: len(edges)], patched, **EXACT)


def test_one_prompt_has_no_standard_error(tiny_models):
    model = tiny_models["gpt2"]
    found = path_patch(model, token_batch(model.info.vocab_size, [[6]]), ["MLP2"], ["MLP0", "logits"])
    assert found.standard_error.flatten().tolist() == [0, torch.inf]


@pytest.mark.parametrize(
    ("senders", "receivers", "message"),
    [
        (["L9H0"], ["logits"], "Sender L9H0 is not in a model of 3 layers"),
        (["embed"], ["L0H4.q"], "Receiver L0H4.q is not in"),
        (["embed"], ["L0H1"], "does not say which input"),
        (["MLP2"], ["MLP1"], "No sender given is computed before"),
        ([], ["logits"], "No sender given"),
        (["nonsense"], ["logits"], "not understood"),
    ],
)
def test_paths_that_are_not_there(tiny_models, senders, receivers, message):
    model = tiny_models["gpt2"]
    with pytest.raises(OptionError, match=message):
        path_patch(model, token_batch(model.info.vocab_size, [[6, 6]]), senders, receivers)
