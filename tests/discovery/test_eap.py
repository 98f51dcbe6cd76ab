"""Edge scores of a batch: what they mean, and that they do not depend on how they are computed."""

from dataclasses import fields, replace

import pytest
import torch
from brute_force import MODULES, token_batch
from scipy.stats import spearmanr
from tiny_models import build_raw
from transformers import AutoModelForCausalLM

from circuitkit.core.edge import EMBED, LOGITS, EdgeSpace, Sender
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.eap import eap
from circuitkit.interventions import edge_sums as module
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.attribution import estimate_sweep
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_attribution import EdgeAttribution
from circuitkit.interventions.replacement import replacement
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import load_model, wrap_model
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.token_block import TokenBlock

METHODS = [
    {"method": "eap"},
    {"method": "eap-ig", "variant": "inputs", "steps": 3},
    {"method": "eap-ig", "variant": "activations", "steps": 2},
]


def batch_for(model: HookedModel) -> PromptBatch:
    return token_batch(model.info.vocab_size, [[5, 5, 5], [7, 7]], answer_inside=not model.is_causal)


def only(batch: PromptBatch, i: int) -> PromptBatch:
    """One prompt of a batch."""

    def part(block: TokenBlock) -> TokenBlock:
        return TokenBlock(**{f.name: getattr(block, f.name)[i : i + 1] for f in fields(block)})

    return replace(
        batch,
        pairs=batch.pairs[i : i + 1],
        prompt_index=(i,),
        clean=part(batch.clean),
        corrupted=part(batch.corrupted),
        correct_ids=batch.correct_ids[i : i + 1],
        incorrect_ids=batch.incorrect_ids[i : i + 1],
        group=torch.zeros(1, dtype=torch.long),
    )


@pytest.fixture
def embedding_only(tiny_tokenizers) -> tuple[HookedModel, PromptBatch]:
    """Heads and MLPs write nothing; the correct answer is read along what corrupting the last token changes."""
    raw = build_raw("gpt2", vocab_size=len(tiny_tokenizers["gpt2"]))
    batch = token_batch(len(tiny_tokenizers["gpt2"]), [[6]])
    with torch.no_grad():
        for block in raw.transformer.h:
            for written in (block.attn.c_proj, block.mlp.c_proj):
                written.weight.zero_()
                written.bias.zero_()
        clean, corrupted = (raw.transformer.wte.weight[block.ids[0, -1]] for block in (batch.clean, batch.corrupted))
        change = 0.3 * (clean - corrupted) / (clean - corrupted).norm()
        raw.transformer.ln_f.weight.fill_(1)
        raw.lm_head.weight = torch.nn.Parameter(torch.zeros_like(raw.lm_head.weight))
        raw.lm_head.weight[batch.correct_ids[0]] = change
        raw.lm_head.weight[batch.incorrect_ids[0]] = -change
    return wrap_model(raw, tiny_tokenizers["gpt2"], name="embedding-only"), batch


@pytest.mark.parametrize(
    ("metric", "options"), [(m, o) for m in ("logit_diff", "probability", "kl") for o in METHODS[m == "kl" :]]
)
def test_only_the_edge_that_helps_has_a_score_and_it_is_positive(embedding_only, metric, options):
    model, batch = embedding_only
    scores = eap(model, batch, ablation="resample", metric=metric, **options)
    space = EdgeSpace(model.info.n_layers, model.info.n_heads)
    at = space.receiver_index[LOGITS], space.sender_index[EMBED]
    runner = CircuitRunner(model, batch, source="resample", metrics=[metric])
    kept = space.possible.clone()
    kept[at] = False
    exact = runner.clean[metric] - runner.run(kept[None])[metric][0]
    exact = float(-exact if metric == "kl" else exact)
    assert exact > 0 and 0.3 * exact < float(scores.mean[at]) < 3 * exact
    rest = scores.mean.clone()
    rest[at] = 0
    assert not rest.any()


@pytest.mark.parametrize("options", METHODS)
def test_mean_and_standard_error_are_those_of_prompts_run_alone(tiny_model, options):
    batch = batch_for(tiny_model)
    whole = eap(tiny_model, batch, ablation="zero", **options)
    alone = [eap(tiny_model, only(batch, i), ablation="zero", **options) for i in range(len(batch.pairs))]
    every = torch.stack([scores.mean for scores in alone])
    close = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(whole.mean, every.mean(0), **close)
    torch.testing.assert_close(whole.standard_error, every.std(0) / len(every) ** 0.5, **close)
    assert whole.n == 5 and alone[0].n == 1
    assert alone[0].standard_error.isnan().all()


@pytest.mark.parametrize("ablation", ["corrupted-mean", "mean", "resample", "zero"])
def test_scores_out_of_a_node_sum_to_the_estimate_of_its_ablation(tiny_model, ablation):
    batch = batch_for(tiny_model)
    scores = eap(tiny_model, batch, ablation=ablation)
    nodes = estimate_sweep(tiny_model, batch, source=Ablation(ablation))
    space = EdgeSpace(tiny_model.info.n_layers, tiny_model.info.n_heads)
    out = scores.mean.sum(0)
    for component, drop in zip(nodes.components, (nodes.clean - nodes.ablated).mean(1), strict=True):
        torch.testing.assert_close(out[space.sender_index[Sender(component)]], drop, rtol=1e-3, atol=1e-5)


def test_prompts_that_cannot_be_compared_by_position(tiny_model):
    batch = token_batch(tiny_model.info.vocab_size, [[5, 9, 7]], positional=False)
    scores = eap(tiny_model, batch)
    nodes = estimate_sweep(tiny_model, batch)
    out = scores.mean.sum(0)
    space = EdgeSpace(tiny_model.info.n_layers, tiny_model.info.n_heads)
    for component, drop in zip(nodes.components, (nodes.clean - nodes.ablated).mean(1), strict=True):
        torch.testing.assert_close(out[space.sender_index[Sender(component)]], drop, rtol=1e-3, atol=1e-5)


def test_estimates_rank_edges_much_as_corrupting_them_one_by_one_does(tiny_model):
    batch = batch_for(tiny_model)
    runner = CircuitRunner(tiny_model, batch)
    at = runner.space.possible.nonzero()
    kept = runner.space.possible.repeat(len(at), 1, 1)
    kept[torch.arange(len(at)), at[:, 0], at[:, 1]] = False
    exact = (runner.clean["logit_diff"] - runner.run(kept)["logit_diff"]).mean(1)
    for options in METHODS:
        found = eap(tiny_model, batch, **options).mean[runner.space.possible]
        assert float(spearmanr(found, exact).statistic) > 0.6, options


def test_the_result_does_not_depend_on_how_many_run_together(tiny_model):
    batch = batch_for(tiny_model)
    whole = eap(tiny_model, batch)
    for size in (1, 2, 3):
        parts = eap(tiny_model, batch, batch_size=size)
        torch.testing.assert_close(parts.mean, whole.mean, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(parts.standard_error, whole.standard_error, rtol=1e-3, atol=1e-5)


def test_values_that_were_prepared_before_are_taken(tiny_model):
    batch = batch_for(tiny_model)
    given = eap(tiny_model, batch, ablation=replacement(tiny_model, batch, Ablation.MEAN))
    assert torch.equal(given.mean, eap(tiny_model, batch, ablation="mean").mean)


@pytest.mark.parametrize("options", METHODS)
def test_bfloat16_scores_are_those_of_float32_but_for_rounding(fresh_raw, tiny_tokenizers, options):
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    model = wrap_model(fresh_raw, tiny_tokenizers[family], name="rounded")
    batch = batch_for(model)
    wanted = eap(model, batch, **options)
    fresh_raw.bfloat16()
    found = eap(model, batch, **options)
    assert found.mean.dtype == torch.float32
    assert float((found.mean - wanted.mean).norm() / wanted.mean.norm()) < 0.05


def short_of_memory_above(rows: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    real, sizes = module.run_clean, []

    def limited(model, taken):
        sizes.append(len(taken.ids))
        if len(taken.ids) > rows:
            raise torch.OutOfMemoryError
        return real(model, taken)

    monkeypatch.setattr(module, "run_clean", limited)
    return sizes


def test_too_many_rows_for_the_memory_are_halved(tiny_model, monkeypatch):
    batch = batch_for(tiny_model)
    wanted = eap(tiny_model, batch)
    sizes = short_of_memory_above(2, monkeypatch)
    torch.testing.assert_close(eap(tiny_model, batch).mean, wanted.mean, rtol=1e-3, atol=1e-5)
    assert max(sizes) == 5 and min(sizes) <= 2


def test_where_one_prompt_does_not_fit_the_error_is_one_line(tiny_model, monkeypatch):
    short_of_memory_above(0, monkeypatch)
    with pytest.raises(OptionError, match="shorter prompts"):
        eap(tiny_model, batch_for(tiny_model))


def test_finished_shards_are_found_again(tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROMPTS_PER_SHARD", 2)
    batch, store = batch_for(tiny_model), ShardStore(tmp_path, "key")
    first = eap(tiny_model, batch, store=store)
    monkeypatch.setattr(module, "run_clean", lambda *_a: pytest.fail("run again"))
    again = eap(tiny_model, batch, store=store)
    assert torch.equal(first.mean, again.mean) and torch.equal(first.standard_error, again.standard_error)


@pytest.mark.parametrize("options", METHODS)
def test_progress_counts_prompts(tiny_model, options):
    seen = []
    batch = batch_for(tiny_model)
    eap(tiny_model, batch, ablation="zero", batch_size=3, progress=lambda *step: seen.append(step), **options)
    assert {(stage, total) for stage, _, total in seen} == {("gradients", 5)}
    done = [count for _, count, _ in seen]
    assert done == sorted(done) and done[-1] == 5 and len(set(done)) > 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"method": "eap"}, lambda n_layers: 1),
        ({"method": "eap-ig", "steps": 3}, lambda n_layers: 3),
        ({"method": "eap-ig", "steps": 2, "variant": "activations"}, lambda n_layers: 2 * (2 * n_layers + 1)),
    ],
)
def test_the_number_of_gradients_is_that_of_those_taken(tiny_model, monkeypatch, options, wanted):
    taken, add = [], EdgeAttribution._add
    monkeypatch.setattr(EdgeAttribution, "_add", lambda *a, **k: taken.append(1) or add(*a, **k))
    batch = token_batch(tiny_model.info.vocab_size, [[6] * 4])  # all run together
    found = eap(tiny_model, batch, ablation="zero", **options)
    assert found.n_gradients == len(taken) == wanted(tiny_model.info.n_layers)


def test_gradients_that_are_no_numbers_are_refused(fresh_raw, tiny_tokenizers):
    family = next(name for name in MODULES if type(fresh_raw).__name__.lower().startswith(name))
    model = wrap_model(fresh_raw, tiny_tokenizers[family], name="broken")
    with torch.no_grad():
        next(fresh_raw.parameters()).fill_(torch.inf)
    with pytest.raises(ModelError, match="not finite"):
        eap(model, batch_for(model))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "kl"}, "use --method eap-ig"),
        ({"metric": "top1", "method": "eap-ig"}, "no gradient"),
        ({"metric": "loss"}, "choose one of"),
        ({"method": "ig"}, "choose one of eap, eap-ig"),
        ({"method": "eap-ig", "variant": "heads"}, "choose one of inputs, activations"),
        ({"method": "eap-ig", "steps": 0}, "--steps 1 or more"),
        ({"ablation": "noise"}, "choose one of"),
        ({"batch_size": 0}, "not positive"),
    ],
)
def test_options_that_do_not_exist_or_do_not_go_together_are_refused(tiny_models, options, message):
    model = tiny_models["gpt2"]
    with pytest.raises(OptionError, match=message) as caught:
        eap(model, batch_for(model), **options)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Some parameters are on the meta device")
@pytest.mark.parametrize("options", METHODS)
def test_blocks_that_accelerate_keeps_on_disk(tiny_dirs, tmp_path, options):
    whole = load_model(tiny_dirs["gpt2"])
    ends = ("transformer.wte", "transformer.wpe", "transformer.drop", "transformer.ln_f", "lm_head")
    places = dict.fromkeys(ends, "cpu") | {
        f"transformer.h.{layer}": "disk" if layer else "cpu" for layer in range(whole.info.n_layers)
    }
    raw = AutoModelForCausalLM.from_pretrained(tiny_dirs["gpt2"], device_map=places, offload_folder=tmp_path)
    spread = wrap_model(raw, whole.tokenizer, name="spread")
    wanted, found = (eap(model, batch_for(whole), **options) for model in (whole, spread))
    torch.testing.assert_close(found.mean, wanted.mean, rtol=0, atol=1e-5)
