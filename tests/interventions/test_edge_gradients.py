"""Scores of edges against finite differences of the plain forward pass over edges, one edge at a time."""

import pytest
import torch
from brute_force import MODULES, forward, token_batch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from circuitkit.core.component import Component
from circuitkit.core.edge import EdgeSpace, Sender
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.attribution import attribution
from circuitkit.interventions.clean_run import run_clean
from circuitkit.interventions.differentiable_run import RunFromStage
from circuitkit.interventions.edge_attribution import EdgeAttribution
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.edge_gradients import receiver_gradients
from circuitkit.interventions.replacement import Values, replacement
from circuitkit.interventions.rows import Rows, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import wrap_model
from circuitkit.tasks.batch import PromptBatch


@pytest.fixture
def precise(fresh_raw: PreTrainedModel, tiny_tokenizers, monkeypatch) -> HookedModel:
    """Each family in float64, in which finite differences are worth something; Llama's own norm rounds to float32."""

    def norm(self: LlamaRMSNorm, x: Tensor) -> Tensor:
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    return wrap_model(fresh_raw.double(), tiny_tokenizers[family], name=f"precise-{family}")


def prepared(model: HookedModel, ablation: str) -> tuple[PromptBatch, Rows, Values]:
    """Prompts of two lengths, run together."""
    batch = token_batch(model.info.vocab_size, [[5, 5], [7]], answer_inside=not model.is_causal)
    everything = torch.arange(len(batch.pairs))
    rows = take(batch.clean, everything, model)
    return batch, rows, replacement(model, batch, Ablation(ablation))(everything, rows.ids.shape[1])


def measured(logits: Tensor, clean: Tensor, batch: PromptBatch, metric: str) -> Tensor:
    row = torch.arange(len(batch.pairs))
    if metric == "logit_diff":
        return logits[row, batch.correct_ids] - logits[row, batch.incorrect_ids]
    return (clean.softmax(-1) * (clean.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)


def of_stream(model: HookedModel, batch: PromptBatch, metric: str = "logit_diff"):
    clean = model.answer_logits(*(getattr(batch.clean, name) for name in ("ids", "mask", "answer_pos")))
    return lambda resid: measured(model.family.unembed(model.raw, resid), clean, batch, metric)


def part_way(model: HookedModel, rows: Rows, far: Values, share: float) -> Values:
    """Replacements that lie a small part of the way from every activation to its replacement."""
    own = model.capture(rows.ids, rows.mask, ("z", "mlp_out", "resid_pre"))
    embed = own["resid_pre"][0]
    return Values(
        z=lambda n: own["z"][n] + share * (far.z(n) - own["z"][n]),
        mlp=lambda n: own["mlp_out"][n] + share * (far.mlp(n) - own["mlp_out"][n]),
        embed=embed + share * (far.embed - embed),
    )


def all_but_one(space: EdgeSpace) -> Tensor:
    """A set of edges for each edge, which it lacks."""
    at = space.possible.nonzero()
    kept = space.possible.repeat(len(at), 1, 1)
    kept[torch.arange(len(at)), at[:, 0], at[:, 1]] = False
    return kept


def slopes(model: HookedModel, batch: PromptBatch, rows: Rows, far: Values, step: float = 1e-4) -> Tensor:
    """Fall of the logit difference for every edge, [edge, row], by central differences."""
    kept = all_but_one(EdgeSpace(model.info.n_layers, model.info.n_heads))
    row, found = torch.arange(len(batch.pairs)), []
    for share in (step, -step):
        logits = EdgeForward(model, rows, part_way(model, rows, far, share)).run(kept)
        found.append(logits[:, row, batch.correct_ids] - logits[:, row, batch.incorrect_ids])
    return (found[1] - found[0]) / (2 * step)


@pytest.mark.parametrize("ablation", ["corrupted-mean", "zero"])
def test_every_score_is_the_slope_that_finite_differences_find(precise, ablation):
    batch, rows, values = prepared(precise, ablation)
    edges = EdgeAttribution(precise, rows, run_clean(precise, rows), values, of_stream(precise, batch))
    scores = edges.at_clean()
    wanted = slopes(precise, batch, rows, values)
    assert float(wanted.abs().median()) > 1e-4  # most edges do something
    torch.testing.assert_close(scores[:, edges.space.possible].T, wanted, rtol=1e-5, atol=1e-7)
    assert not scores[:, ~edges.space.possible].any()


def test_the_gradient_of_each_receiver_is_that_of_its_own_stream(precise):
    """Receivers that read one stream share the gradient of the stream among them and what goes past."""
    batch, rows, _values = prepared(precise, "zero")
    runner = RunFromStage(precise, rows)
    run = runner.run(0, precise.family.embed(precise.raw, rows.ids))
    row = torch.arange(len(rows.ids))
    final = run.streams[runner.last_stage][row, rows.answer_pos]
    value = of_stream(precise, batch)(final).sum()
    stage = 2 * (precise.info.n_layers - 1)
    (whole,) = torch.autograd.grad(value, run.streams[stage], retain_graph=True)
    found = {(g.stage, g.rows.start): g.gradients for g in receiver_gradients(runner, run, of_stream(precise, batch))}
    per_block = 3 * precise.info.n_heads + 1
    of_heads = found[stage, (precise.info.n_layers - 1) * per_block]
    of_mlp = found[stage + 1, precise.info.n_layers * per_block - 1]
    of_logits = found[stage + 2, precise.info.n_layers * per_block]
    assert of_heads.shape[0] == per_block - 1
    assert not torch.equal(of_heads[1], of_heads[4])  # two heads' keys, which may be shared: a view each
    if precise.family.pre_norm:
        torch.testing.assert_close(of_heads.sum(0) + of_mlp[0] + of_logits[0], whole)
    elsewhere = torch.ones(rows.ids.shape, dtype=torch.bool)
    elsewhere[row, rows.answer_pos] = False
    assert not of_logits[0][elsewhere].any() and not of_mlp[0][elsewhere].any()


def test_scores_out_of_a_node_sum_to_its_attribution(precise):
    batch, rows, values = prepared(precise, "corrupted-mean")
    edges = EdgeAttribution(precise, rows, run_clean(precise, rows), values, of_stream(precise, batch))
    out = edges.at_clean().sum(1)
    nodes = attribution(precise, rows, values, correct=batch.correct_ids, incorrect=batch.incorrect_ids)
    for component, estimate in zip(precise.components, nodes["estimate"], strict=True):
        found = out[:, edges.space.sender_index[Sender(component)]]
        torch.testing.assert_close(found.float(), nodes["clean"] - estimate, rtol=1e-4, atol=1e-5)


def test_one_step_of_integrated_gradients_is_the_clean_gradient(precise):
    batch, rows, values = prepared(precise, "corrupted-mean")
    edges = EdgeAttribution(precise, rows, run_clean(precise, rows), values, of_stream(precise, batch))
    wanted = edges.at_clean()
    torch.testing.assert_close(edges.over_inputs(1), wanted)
    torch.testing.assert_close(edges.over_activations(1), wanted)


def columns(space: EdgeSpace, stage: int) -> list[int]:
    """Senders of a stage: the embedding, a block's heads, its MLP."""
    if stage == 0:
        return [0]
    layer = (stage - 1) // 2
    heads = [Component(layer, head) for head in range(space.n_heads)] if stage % 2 else [Component(layer)]
    return [space.sender_index[Sender(c)] for c in heads]


@pytest.mark.parametrize("metric", ["logit_diff", "kl"])
def test_integrated_gradients_sum_to_the_whole_effect(precise, metric):
    """The rule's error falls with the number of steps as c / steps: two numbers of steps make it go away."""
    batch, rows, far = prepared(precise, "resample")
    values = part_way(precise, rows, far, 0.25)
    edges = EdgeAttribution(precise, rows, run_clean(precise, rows), values, of_stream(precise, batch, metric))
    few, many = 4, 8
    by_stage = (2 * edges.over_activations(many) - edges.over_activations(few)).sum(1)
    clean = precise.answer_logits(rows.ids, rows.mask, rows.answer_pos)
    for stage in range(2 * precise.info.n_layers + 1):
        senders = columns(edges.space, stage)
        kept = edges.space.possible.clone()
        kept[:, senders] = False
        replaced = EdgeForward(precise, rows, values).run(kept[None])[0]
        wanted = measured(clean, clean, batch, metric) - measured(replaced, clean, batch, metric)
        torch.testing.assert_close(
            by_stage[:, senders].sum(1), wanted, rtol=1e-2, atol=1e-2 * float(wanted.abs().max())
        )


def test_integrated_over_inputs_the_embedding_s_edges_sum_to_what_corrupting_the_prompt_costs(precise):
    batch, rows, values = prepared(precise, "resample")
    edges = EdgeAttribution(precise, rows, run_clean(precise, rows), values, of_stream(precise, batch))
    few, many = 24, 48
    found = (2 * edges.over_inputs(many) - edges.over_inputs(few))[:, :, 0].sum(1)
    row = torch.arange(len(batch.pairs))
    clean, corrupted = (
        forward(precise.raw, block.ids, block.mask)[row, batch.clean.answer_pos]
        for block in (batch.clean, batch.corrupted)
    )
    wanted = measured(clean, clean, batch, "logit_diff") - measured(corrupted, clean, batch, "logit_diff")
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2 * float(wanted.abs().max()))


def test_nothing_is_left_behind_on_the_model(fresh_raw, tiny_tokenizers):
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    model = wrap_model(fresh_raw, tiny_tokenizers[family], name="kept")
    wanted = [i % 2 == 0 for i, _ in enumerate(fresh_raw.parameters())]
    before = [p.detach().clone() for p in fresh_raw.parameters()]
    for parameter, trained in zip(fresh_raw.parameters(), wanted, strict=True):
        parameter.requires_grad_(trained)
    batch, rows, values = prepared(model, "corrupted-mean")
    EdgeAttribution(model, rows, run_clean(model, rows), values, of_stream(model, batch)).over_activations(1)
    assert [p.requires_grad for p in fresh_raw.parameters()] == wanted
    assert all(p.grad is None for p in fresh_raw.parameters())
    assert all(torch.equal(p, old) for p, old in zip(fresh_raw.parameters(), before, strict=True))
