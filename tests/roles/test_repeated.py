"""Random tokens said twice: scores against loops over raw attentions, and heads that are known to do it."""

import pytest
import torch
from hand_reads import read
from planted import planted

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.models.loading import load_model
from circuitkit.roles.repeated import repeated_scores


def _by_hand(model, captured, length, n_before):
    """Mean attention of every head by sequence: [role][sequence][layer, head]."""
    out = []
    for ids in captured:
        _, patterns, _ = read(model.raw, ids)
        stacked = torch.stack(patterns)
        t = [n_before + i for i in range(2 * length)]
        assert [int(ids[i]) for i in t[:length]] == [int(ids[i]) for i in t[length:]]
        assert len({int(ids[i]) for i in t}) == length
        before = [stacked[:, :, t[i], t[i - 1]] for i in range(1, 2 * length)]
        same = [stacked[:, :, t[length + i], t[i]] for i in range(length)]
        following = [stacked[:, :, t[length + i], t[i + 1]] for i in range(length)]
        out.append([torch.stack(found).mean(0).flatten() for found in (before, same, following)])
    return torch.stack([torch.stack([row[role] for row in out], 1) for role in range(3)])


@pytest.fixture
def seen(monkeypatch):
    """The tokens that models are run on."""
    from circuitkit.models.hooked_model import HookedModel

    kept = []
    original = HookedModel.capture

    def watched(self, ids, *args, **kwargs):
        kept.extend(ids)
        return original(self, ids, *args, **kwargs)

    monkeypatch.setattr(HookedModel, "capture", watched)
    return kept


@pytest.mark.parametrize("length", [None, 4])
def test_scores_are_those_of_raw_attentions(tiny_model, seen, length):
    found = repeated_scores(tiny_model, n_sequences=3, length=length, seed=5)
    n_before = {"gpt2": 0, "llama": 1, "bert": 1, "distilbert": 1}[tiny_model.info.family]
    n_after = {"gpt2": 0, "llama": 0, "bert": 1, "distilbert": 1}[tiny_model.info.family]
    assert len(seen) == 3
    assert len(seen[0]) == n_before + 2 * found.length + n_after <= tiny_model.info.max_length
    assert found.length == (length or (64 - n_before - n_after) // 2)
    torch.testing.assert_close(found.attention, _by_hand(tiny_model, seen, found.length, n_before), atol=1e-5, rtol=0)
    scores = found.scores("induction")
    assert found.others("induction")[2] == pytest.approx(float(scores[[0, 1, *range(3, len(scores))]].mean()))
    best = found.top("induction", 1)
    assert best == [(found.heads[int(scores.argmax())], float(scores.max()))]


def test_scores_of_a_trained_model_by_hand(seen):
    model = load_model("toy-llama")
    found = repeated_scores(model, n_sequences=2, length=6)
    n_before = len(seen[0]) - 12
    torch.testing.assert_close(found.attention, _by_hand(model, seen, 6, n_before), atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "distilbert"])
def test_planted_heads_are_found_and_no_others(family):
    """Four tokens are said twice; the planted induction head reads every place whose token before is the current one.

    The first token counts as its own token before, so that the query t1 of the second half finds two places, and only
    one is the role's: (1/2 + 1 + 1 + 1) / 4. Masked models also find what follows in the second half itself, except at
    its end: (1/3 + 1/2 + 1/2 + 1) / 4.
    """
    known = planted("induction", family)
    found = repeated_scores(known.model, n_sequences=8)
    assert found.length == 4
    expected = {"previous-token": 1.0, "induction": 3.5 / 4 if known.model.is_causal else 7 / 12}
    for role, head in (("previous-token", Component(0, 1)), ("induction", Component(1, 2))):
        scores = found.scores(role)
        (best, score), (_, second) = found.top(role, 2)
        assert best == head
        assert score == pytest.approx(expected[role], abs=0.03)
        assert second < 0.35
        assert scores.max() == score
    assert found.scores("duplicate-token").max() < 0.35


def test_the_same_seed_gives_the_same_sequences(tiny_models):
    one, same, other = (repeated_scores(tiny_models["gpt2"], n_sequences=2, seed=s).attention for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_does_not_fit_is_said(tiny_models):
    with pytest.raises(OptionError, match="33 random tokens to be said twice; 'tiny-gpt2' has room for 3 to 32"):
        repeated_scores(tiny_models["gpt2"], length=33)
    with pytest.raises(OptionError, match="2 random tokens"):
        repeated_scores(tiny_models["gpt2"], length=2)
    with pytest.raises(OptionError, match="0 random sequences"):
        repeated_scores(tiny_models["gpt2"], n_sequences=0)
    with pytest.raises(OptionError, match="Seed -1"):
        repeated_scores(tiny_models["gpt2"], seed=-1)


@pytest.mark.real
def test_pretrained_heads_by_hand(real_model_dir, seen):
    """The raw attentions of a pretrained model, and that it has clear previous-token and induction heads."""
    model = load_model(str(real_model_dir))
    found = repeated_scores(model, n_sequences=2, length=20)
    n_before = len(seen[0]) - 40
    torch.testing.assert_close(found.attention, _by_hand(model, seen, 20, n_before), atol=1e-4, rtol=0)
    for role in ("previous-token", "induction"):
        best, score = found.top(role, 1)[0]
        assert score > 0.5 > 4 * found.others(role)[found.heads.index(best)]
