"""Students of a known relation: what they compute, and that the relation is the one that is recorded."""

import pytest
import torch
from tiny_models import build_raw, save

from circuitkit.core.component import Component
from circuitkit.core.errors import ModelError, OptionError
from circuitkit.experiments.battery.exact import identity, permuted_heads, permuted_neurons, rotated_heads
from circuitkit.experiments.battery.noise import noisy, weight_distance
from circuitkit.experiments.battery.orthogonal import mean_preserving, random_orthogonal, rope_commuting
from circuitkit.experiments.battery.stream import permuted_stream, rotated_stream
from circuitkit.experiments.battery.surgery import merged_heads, without_head
from circuitkit.models.loading import load_model, wrap_model

KINDS = ("gpt2", "bert", "llama")
EXACT = {"heads": permuted_heads, "bases": rotated_heads, "neurons": permuted_neurons, "coordinates": permuted_stream}


@pytest.fixture(params=KINDS)
def teacher(request, tiny_tokenizers):
    return build_raw(request.param, vocab_size=len(tiny_tokenizers[request.param]), seed=3)


def logits(raw):
    ids = torch.randint(5, 90, (3, 11), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return raw.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", EXACT)
def test_another_basis_is_the_same_function(kind, teacher):
    made = EXACT[kind](teacher, seed=4)
    torch.testing.assert_close(logits(made.raw), logits(teacher), atol=1e-4, rtol=0)
    assert weight_changed(made.raw, teacher)


def weight_changed(raw, teacher):
    theirs = dict(teacher.named_parameters())
    return sum(not torch.equal(theirs[name], weight) for name, weight in raw.named_parameters() if name in theirs) > 3


def test_identity_is_a_copy(teacher):
    made = identity(teacher)
    assert torch.equal(logits(made.raw), logits(teacher))
    assert not {p.data_ptr() for p in made.raw.parameters()} & {p.data_ptr() for p in teacher.parameters()}


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_rotated_stream_is_the_same_function_in_another_basis(family, tiny_tokenizers):
    teacher = build_raw(family, vocab_size=len(tiny_tokenizers[family]), seed=3)
    made = rotated_stream(teacher, seed=4)
    torch.testing.assert_close(logits(made.raw), logits(teacher), atol=1e-4, rtol=0)
    ids = torch.arange(5, 15)[None]
    with torch.no_grad():
        mine, theirs = (raw(ids, output_hidden_states=True).hidden_states[1][0] for raw in (made.raw, teacher))
    torch.testing.assert_close(mine @ mine.T, theirs @ theirs.T, atol=1e-3, rtol=1e-4)
    assert (mine - theirs).abs().max() > 0.5


def test_the_stream_of_a_post_norm_model_is_refused(tiny_tokenizers):
    with pytest.raises(ModelError, match="cannot be rotated: its LayerNorms stand on the stream"):
        rotated_stream(build_raw("bert", vocab_size=len(tiny_tokenizers["bert"])), seed=0)


def test_gains_of_zero_beside_a_bias_are_refused(tiny_tokenizers):
    teacher = build_raw("gpt2", vocab_size=len(tiny_tokenizers["gpt2"]))
    teacher.transformer.h[0].ln_1.weight.data[3] = 0
    with pytest.raises(ModelError, match="gain of 0 beside a bias"):
        rotated_stream(teacher, seed=0)


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_permutation_is_the_true_one(kind, tiny_tokenizers):
    """Each student head moves what the teacher's head that is named for it moves: the same z at every position."""
    teacher = build_raw(kind, vocab_size=len(tiny_tokenizers[kind]), seed=3)
    made = permuted_heads(teacher, seed=4)
    models = [wrap_model(raw, tiny_tokenizers[kind], name="m") for raw in (teacher, made.raw)]
    ids = torch.randint(5, 90, (2, 9), generator=generator())
    theirs, mine = (m.capture(ids, torch.ones_like(ids).bool(), ["z"])["z"] for m in models)
    moved = 0
    for student, (source,) in made.relation.items():
        if student.head is None:
            assert source == student
            continue
        moved += source != student
        torch.testing.assert_close(mine[student.layer][:, :, student.head], theirs[source.layer][:, :, source.head])
    assert moved > 2
    assert sorted(map(str, (s for (s,) in made.relation.values()))) == sorted(map(str, models[0].components))


def test_rotated_bases_change_the_values_and_not_what_is_written(tiny_tokenizers):
    teacher = build_raw("bert", vocab_size=len(tiny_tokenizers["bert"]), seed=3)
    models = [wrap_model(r, tiny_tokenizers["bert"], name="m") for r in (teacher, rotated_heads(teacher, seed=1).raw)]
    ids = torch.randint(5, 90, (2, 9), generator=generator())
    z = [m.capture(ids, torch.ones_like(ids).bool(), ["z"])["z"][1] for m in models]
    assert (z[0] - z[1]).abs().max() > 0.1
    written = [torch.einsum("rphd,hdm->rphm", x, m.w_o(1)) for x, m in zip(z, models, strict=True)]
    torch.testing.assert_close(*written, atol=1e-4, rtol=0)


def test_a_rotated_model_is_saved_and_read_with_its_own_unembedding(tiny_tokenizers, tmp_path):
    teacher = build_raw("gpt2", vocab_size=len(tiny_tokenizers["gpt2"]), seed=3)
    raw = rotated_stream(teacher, seed=4).raw
    back = load_model(save(raw, tiny_tokenizers["gpt2"], tmp_path / "turned")).raw
    torch.testing.assert_close(logits(back), logits(teacher), atol=1e-4, rtol=0)
    assert teacher.config.tie_word_embeddings


def test_matrices_are_what_they_are_called():
    for draw in (random_orthogonal, mean_preserving, rope_commuting):
        turn = draw(12, generator())
        torch.testing.assert_close(turn @ turn.T, torch.eye(12, dtype=torch.float64))
    ones = torch.ones(12, dtype=torch.float64)
    torch.testing.assert_close(ones @ mean_preserving(12, generator()), ones)
    turn = rope_commuting(12, generator())
    angle = torch.arange(1.0, 7.0, dtype=torch.float64)
    cos, sin = angle.cos().repeat(2), angle.sin().repeat(2)

    def rope(x):
        return x * cos + torch.cat([-x[6:], x[:6]]) * sin

    x = torch.randn(12, generator=generator(2), dtype=torch.float64)
    torch.testing.assert_close(rope(x) @ turn, rope(x @ turn))


def test_noise_grows_with_its_level_in_one_direction(teacher):
    levels = (0.0, 0.1, 0.2, 0.4, 0.8)
    students = [noisy(teacher, level=level, seed=7).raw for level in levels]
    apart = [weight_distance(teacher, student) for student in students]
    assert apart[0] == 0
    assert apart == sorted(apart)
    assert apart[4] / apart[1] == pytest.approx(8, rel=1e-4)
    name, weight = next(iter(teacher.named_parameters()))
    change = dict(students[3].named_parameters())[name] - weight
    assert change.std().item() == pytest.approx(0.4 * weight.std().item(), rel=0.05)
    assert weight_distance(teacher, noisy(teacher, level=0.1, seed=8).raw) != apart[1]
    with pytest.raises(OptionError, match="wanted a number from 0 on"):
        noisy(teacher, level=-1.0, seed=0)


def test_a_head_taken_out_is_the_head_ablated_by_zeros(teacher, request, tiny_tokenizers):
    made = without_head(teacher, Component(1, 2))
    assert made.relation[Component(1, 2)] == ()
    kind = teacher.config.model_type
    model = wrap_model(teacher, tiny_tokenizers[kind], name="m")
    d = model.info.d_head

    def zero(_module, args):
        z = args[0].clone()
        z[..., 2 * d : 3 * d] = 0
        return (z, *args[1:])

    block = model.family.blocks(model.raw)[1]
    handle = model.family.out_proj(block).register_forward_pre_hook(zero)
    wanted = logits(model.raw)
    handle.remove()
    torch.testing.assert_close(logits(made.raw), wanted, atol=1e-5, rtol=0)
    with pytest.raises(ModelError, match="has no head L9H0; wanted L0H0 to L2H3"):
        without_head(teacher, Component(9, 0))


def test_a_merged_head_moves_the_sum_of_both_as_well_as_its_rank_allows(teacher, tiny_tokenizers):
    model = wrap_model(teacher, tiny_tokenizers[teacher.config.model_type], name="m")
    made = merged_heads(teacher, Component(1, 3), Component(1, 2))
    assert made.relation[Component(1, 3)] == (Component(1, 3), Component(1, 2))
    assert made.relation[Component(1, 2)] == ()
    merged = wrap_model(made.raw, model.tokenizer, name="m")
    d, groups = model.info.d_head, model.info.n_heads // model.info.n_kv_heads

    def moved(m, head):
        v = m.family.projections(m.family.blocks(m.raw)[1]).v
        kv = head // groups
        return (v.weight[:, kv * d : (kv + 1) * d] @ m.w_o(1)[head]).detach().double()

    wanted = moved(model, 2) + moved(model, 3)
    u, s, vh = torch.linalg.svd(wanted)
    best = (u[:, :d] * s[:d]) @ vh[:d]
    torch.testing.assert_close(moved(merged, 3), best, atol=1e-4, rtol=0)
    assert moved(merged, 2).abs().max() == 0
    assert torch.equal(moved(merged, 0), moved(model, 0))
    with pytest.raises(ModelError, match="wanted two heads of one layer"):
        merged_heads(teacher, Component(1, 3), Component(2, 3))


def test_merging_a_head_with_its_twin_loses_nothing(teacher, tiny_tokenizers):
    """Two heads with the same attention, values and biases: their merger is exact, biases included."""
    model = wrap_model(teacher, tiny_tokenizers[teacher.config.model_type], name="m")
    d, groups = model.info.d_head, model.info.n_heads // model.info.n_kv_heads
    parts = model.family.projections(model.family.blocks(model.raw)[1])
    with torch.no_grad():
        for affine in (parts.q,) if groups > 1 else (parts.q, parts.k, parts.v):
            for tensor in (affine.weight, affine.bias):
                if tensor is not None:
                    tensor[..., 3 * d :] = tensor[..., 2 * d : 3 * d]
    made = merged_heads(teacher, Component(1, 2), Component(1, 3))
    torch.testing.assert_close(logits(made.raw), logits(teacher), atol=1e-4, rtol=0)


def test_a_family_without_a_layout_is_refused(tiny_tokenizers):
    with pytest.raises(ModelError, match="got a DistilBertForMaskedLM; wanted a GPT2LMHeadModel"):
        identity(build_raw("distilbert", vocab_size=len(tiny_tokenizers["distilbert"])))
