"""Any edges kept, against the raw modules run by hand: prompt by prompt, receiver by receiver, query by query."""

import pytest
import torch
from brute_edges import EdgesByHand, edge_logits
from brute_force import forward, token_batch
from edge_sets import AWKWARD, edge, random_sets, very_different
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from circuitkit.core.component import all_components
from circuitkit.core.edge import EdgeSpace, Receiver, Sender
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.interventions.edge_forward import EdgeForward
from circuitkit.interventions.engine import run_interventions
from circuitkit.interventions.intervention import replace_components
from circuitkit.interventions.replacement import replacement
from circuitkit.interventions.rows import take
from circuitkit.models.loading import wrap_model

EXACT = {"atol": 1e-5, "rtol": 1e-5}
METRICS = ("logit_diff", "kl", "probability", "top1")


def _ragged(model, *, seed=0, shared=0, answer_inside=None):
    """Two templates and four lengths; the first `shared` tokens are the same in all prompts."""
    inside = not model.is_causal if answer_inside is None else answer_inside
    batch = token_batch(model.info.vocab_size, [[5, 5, 8], [4, 8]], seed=seed, answer_inside=inside)
    for block in (batch.clean, batch.corrupted):
        block.ids[:, :shared] = torch.arange(5, 5 + shared)
    return batch


def _pooled(model, *, seed=0):
    """Prompts without positions in common: corrupted partners have other lengths."""
    return token_batch(
        model.info.vocab_size,
        [[4, 7, 6]],
        positional=False,
        seed=seed,
        corrupted_lengths=[[6, 4, 5]],
        answer_inside=not model.is_causal,
    )


def _by_hand(model, batch, ablation, space, kept):
    by_hand = EdgesByHand(model.raw, model.info.family, batch, ablation)
    return torch.stack([by_hand.logit_diff(set(space.edges(one))) for one in kept])


def _check(model, batch, ablation, kept, **options):
    runner = CircuitRunner(model, batch, source=ablation, **options)
    wanted = _by_hand(model, batch, ablation, runner.space, kept)
    torch.testing.assert_close(runner.run(kept)["logit_diff"], wanted, **EXACT)
    return wanted


def _space(model):
    return EdgeSpace(model.info.n_layers, model.info.n_heads)


@pytest.mark.parametrize("make", AWKWARD.values(), ids=AWKWARD.keys())
def test_awkward_sets(tiny_model, make):
    kept = make(_space(tiny_model), seed=1)
    wanted = _check(tiny_model, _ragged(tiny_model), Ablation.RESAMPLE, kept)
    assert wanted.std(0).mean() > 1e-2  # sets that all give the same would show nothing


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("make", ["single_paths", "few_edges"])
def test_sets_alone(tiny_model, make, seed):
    """What only one input of one head reads is known where that input needs it, with no other set to ask for more."""
    batch, kept = _ragged(tiny_model, seed=seed), AWKWARD[make](_space(tiny_model), seed=seed)
    runner = CircuitRunner(tiny_model, batch, source="resample")
    found = torch.cat([runner.run(one[None])["logit_diff"] for one in kept])
    torch.testing.assert_close(found, _by_hand(tiny_model, batch, "resample", runner.space, kept), **EXACT)


@pytest.mark.parametrize("ablation", list(Ablation))
@pytest.mark.parametrize("make", [_ragged, _pooled])
def test_every_ablation(tiny_model, make, ablation):
    _check(tiny_model, make(tiny_model), ablation, very_different(_space(tiny_model), seed=2))


@pytest.mark.parametrize("ablation", [Ablation.CORRUPTED_MEAN, Ablation.MEAN, Ablation.ZERO])
@pytest.mark.parametrize("make", ["prefixes_at_receiver", "dead_components"])
def test_awkward_sets_of_other_ablations(tiny_model, make, ablation):
    _check(tiny_model, _ragged(tiny_model, seed=3), ablation, AWKWARD[make](_space(tiny_model), seed=3)[::3])


@pytest.mark.parametrize("ablation", list(Ablation))
@pytest.mark.parametrize("shared", [1, 3])
def test_prompts_that_begin_alike(tiny_model, ablation, shared):
    """What comes before the first token that differs cannot change in a causal model, but it can with zeros."""
    kept = random_sets(_space(tiny_model), [0.4, 0.8], seed=4)
    _check(tiny_model, _ragged(tiny_model, seed=4, shared=shared), ablation, kept)


def test_answer_in_the_middle(tiny_model):
    batch = _ragged(tiny_model, seed=5, answer_inside=True)
    _check(tiny_model, batch, Ablation.RESAMPLE, very_different(_space(tiny_model), seed=5))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**31),
    densities=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    ablation=st.sampled_from(list(Ablation)),
    shared=st.integers(0, 4),
)
def test_any_sets(tiny_model, seed, densities, ablation, shared):
    kept = random_sets(_space(tiny_model), densities, seed)
    _check(tiny_model, _ragged(tiny_model, seed=seed, shared=shared), ablation, kept)


@pytest.mark.parametrize("ablation", list(Ablation))
def test_the_whole_vocabulary(tiny_model, ablation):
    """`EdgeForward` itself, padded rows together and in another order than in the batch."""
    batch, space = _ragged(tiny_model, seed=6), _space(tiny_model)
    rows = torch.tensor([4, 0, 2])
    taken = take(batch.clean, rows, tiny_model)
    values = replacement(tiny_model, batch, ablation)(rows, taken.ids.shape[1])
    kept = very_different(space, seed=6)
    edge_forward = EdgeForward(tiny_model, taken, values)
    logits = edge_forward.run(kept)
    for unit, one in enumerate(kept):
        by_hand = edge_logits(tiny_model.raw, tiny_model.info.family, set(space.edges(one)), batch, ablation)
        torch.testing.assert_close(logits[unit], by_hand[rows], **EXACT)
    tokens = torch.stack([batch.correct_ids[rows], batch.incorrect_ids[rows]], 1)
    wanted = logits.gather(-1, tokens.expand(len(kept), -1, -1))
    torch.testing.assert_close(edge_forward.run(kept, tokens), wanted, **EXACT)


def test_metrics_by_their_definitions(tiny_model):
    batch, space = _ragged(tiny_model, seed=7), _space(tiny_model)
    kept = random_sets(space, [0.0, 0.3, 0.7, 0.97], seed=7)
    by_hand = EdgesByHand(tiny_model.raw, tiny_model.info.family, batch, "corrupted-mean")
    clean = by_hand.logits(set(space.edges()))
    batch.correct_ids[:2] = clean[:2].argmax(-1)  # so that some are answered
    logits, row = torch.stack([by_hand.logits(set(space.edges(one))) for one in kept]), torch.arange(len(clean))
    p, q = clean.double().softmax(-1), logits.double().softmax(-1)
    wanted = {
        "logit_diff": logits[:, row, batch.correct_ids] - logits[:, row, batch.incorrect_ids],
        "kl": (p * (p / q).log()).sum(-1).float(),
        "probability": q[:, row, batch.correct_ids].float(),
        "top1": (logits.argmax(-1) == batch.correct_ids).float(),
    }
    runner = CircuitRunner(tiny_model, batch, metrics=METRICS)
    found = runner.run(kept)
    assert set(found) == set(METRICS)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, **EXACT)
        torch.testing.assert_close(
            CircuitRunner(tiny_model, batch, metrics=(name,)).run(kept)[name], value, **EXACT, msg=name
        )
    assert runner.clean["top1"][:2].tolist() == [1, 1]
    torch.testing.assert_close(runner.clean["kl"], torch.zeros(len(clean)), **EXACT)
    clean_diff = clean[row, batch.correct_ids] - clean[row, batch.incorrect_ids]
    torch.testing.assert_close(runner.clean["logit_diff"], clean_diff, **EXACT)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_how_many_run_together_does_not_matter(tiny_model, batch_size):
    batch, kept = _ragged(tiny_model, seed=8), very_different(_space(tiny_model), seed=8)
    _check(tiny_model, batch, Ablation.CORRUPTED_MEAN, kept, batch_size=batch_size)


def test_more_prompts_than_a_shard_holds(tiny_model):
    """Shards are cut by length; the results keep the order of the batch."""
    lengths = [[4, 6, 5] * 8, [6, 4] * 8]
    batch = token_batch(tiny_model.info.vocab_size, lengths, seed=9, answer_inside=not tiny_model.is_causal)
    _check(tiny_model, batch, Ablation.CORRUPTED_MEAN, random_sets(_space(tiny_model), [0.5, 0.9], seed=9))


def test_a_runner_remembers_nothing(tiny_model):
    """Sets one by one, in another order and again give what they give together; none at all give nothing."""
    kept = torch.cat([very_different(_space(tiny_model), seed=10), single_removed(_space(tiny_model))])
    runner = CircuitRunner(tiny_model, _ragged(tiny_model, seed=10), metrics=METRICS)
    together = runner.run(kept)
    assert runner.run(kept[:0])["kl"].shape == (0, 5)
    backwards = runner.run(kept.flip(0))
    for name in METRICS:
        torch.testing.assert_close(backwards[name].flip(0), together[name], **EXACT)
        one_by_one = torch.cat([runner.run(one[None])[name] for one in kept])
        torch.testing.assert_close(one_by_one, together[name], **EXACT)


def single_removed(space):
    texts = ("embed->L0H2.q", "MLP0->L1H1.v", "L1H3->logits", "embed->logits")
    return torch.stack([space.possible & ~space.mask([edge(text)]) for text in texts])


@pytest.mark.parametrize("ablation", list(Ablation))
def test_law_all_edges_are_the_model(tiny_model, ablation):
    batch = _ragged(tiny_model, seed=11)
    runner = CircuitRunner(tiny_model, batch, source=ablation)
    found = runner.run(runner.space.possible[None])["logit_diff"][0]
    for row in range(5):
        mask = batch.clean.mask[row]
        logits = forward(tiny_model.raw, batch.clean.ids[row][mask][None], mask[mask][None])
        at = logits[0, batch.clean.answer_pos[row]]
        torch.testing.assert_close(found[row], at[batch.correct_ids[row]] - at[batch.incorrect_ids[row]], **EXACT)
    torch.testing.assert_close(runner.clean["logit_diff"], found, **EXACT)


def test_law_no_edges_are_the_corrupted_prompts(tiny_model):
    batch = _ragged(tiny_model, seed=12)
    runner = CircuitRunner(tiny_model, batch, source="resample")
    found = runner.run(torch.zeros_like(runner.space.possible)[None])["logit_diff"][0]
    for row in range(5):
        mask = batch.corrupted.mask[row]
        logits = forward(tiny_model.raw, batch.corrupted.ids[row][mask][None], mask[mask][None])
        at = logits[0, batch.corrupted.answer_pos[row]]
        torch.testing.assert_close(found[row], at[batch.correct_ids[row]] - at[batch.incorrect_ids[row]], **EXACT)


@pytest.mark.parametrize("ablation", list(Ablation))
@pytest.mark.parametrize("make", [_ragged, _pooled])
def test_law_edges_of_nodes_are_ablated_nodes(tiny_model, make, ablation):
    batch, space = make(tiny_model, seed=13), _space(tiny_model)
    components = all_components(space.n_layers, space.n_heads)
    generator = torch.Generator().manual_seed(13)
    gone = [
        [component for component in components if torch.rand((), generator=generator) < share]
        for share in (0.1, 0.5, 0.9, 1.0)
    ] + [[component] for component in components[::5]]
    kept = torch.stack([space.of_nodes(set(components) - set(some)) for some in gone])
    found = CircuitRunner(tiny_model, batch, source=ablation).run(kept)["logit_diff"]
    runs = run_interventions(tiny_model, batch, [replace_components(*some) for some in gone], source=ablation)
    torch.testing.assert_close(found, runs.changed, **EXACT)


def test_law_what_nobody_reads_may_read_anything(tiny_model):
    batch, space = _ragged(tiny_model, seed=14), _space(tiny_model)
    dead = Sender.parse("L1H2")
    sets = random_sets(space, [0.7] * 4, seed=14)
    sets[1:] = sets[0]
    sets[:, :, space.sender_index[dead]] = False
    for name, one, keep in zip(("q", "k", "v"), sets[1:], (True, False, True), strict=True):
        row = space.receiver_index[Receiver(dead.component, name)]
        one[row] = space.possible[row] & keep
    found = CircuitRunner(tiny_model, batch, source="resample").run(sets)["logit_diff"]
    torch.testing.assert_close(found, found[:1].expand_as(found), **EXACT)


def test_law_identical_partners_leave_nothing_to_lose(tiny_model):
    batch, space = _ragged(tiny_model, seed=15), _space(tiny_model)
    batch.corrupted.ids[:] = batch.clean.ids
    runner = CircuitRunner(tiny_model, batch, source="resample")
    found = runner.run(very_different(space, seed=15))["logit_diff"]
    torch.testing.assert_close(found, runner.clean["logit_diff"].expand_as(found), **EXACT)


def _unusual(name):
    """Configurations in which heads, keys or scores are not laid out as usual."""
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(16)
        if name == "scores scaled by layer":
            config = GPT2Config(
                vocab_size=600, n_positions=64, n_embd=24, n_layer=3, n_head=3, n_inner=40,
                scale_attn_by_inverse_layer_idx=True, initializer_range=0.3, **ends,
            )  # fmt: skip
            raw = GPT2LMHeadModel(config)
        else:
            config = LlamaConfig(
                vocab_size=600, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=6,
                num_key_value_heads=1 if name == "one key for all" else 3, head_dim=8, attention_bias=True,
                mlp_bias=True, initializer_range=0.3, rope_theta=100.0, **ends,
            )  # fmt: skip
            raw = LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in raw.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return raw.eval()


@pytest.mark.parametrize("name", ["scores scaled by layer", "one key for all", "wide heads and biases"])
def test_unusual_configurations(tiny_tokenizers, name):
    raw = _unusual(name)
    tokenizer = tiny_tokenizers["gpt2" if isinstance(raw, GPT2LMHeadModel) else "llama"]
    model = wrap_model(raw, tokenizer, name=name)
    for make in ("very_different", "one_input_of_a_head"):
        _check(model, _ragged(model, seed=16), Ablation.CORRUPTED_MEAN, AWKWARD[make](_space(model), seed=16)[:10])
