"""Probes on data whose answer is known: planted directions, noise, shuffled labels, and scikit-learn by itself."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from circuitkit.probes.linear_probe import probe_row
from circuitkit.probes.scores import auroc
from circuitkit.probes.split import ContentKeys, Folds


def folds_of(n, n_folds=4, *, keys=None):
    keys = keys or [str(i) for i in range(n)]
    fold = torch.tensor([hash_ % n_folds for hash_ in (int(key) for key in keys)])
    return Folds(fold=fold, content=ContentKeys(kind="words", rule="rule", keys=tuple(keys)), n_folds=n_folds)


def probed(x, classes, folds, *, ranked=False, n_controls=3, strength=0.1):
    return probe_row(x, classes, folds, ranked=ranked, n_controls=n_controls, strength=strength, seed=5)


@pytest.mark.parametrize("gap", [0.5, 1.5, 3.0])
def test_a_planted_direction_is_found_as_well_as_it_can_be(gap):
    """Two normal clouds at a distance d are told apart with a probability of Phi(d / 2), and no better."""
    n, generator = 4000, torch.Generator().manual_seed(0)
    classes = torch.arange(n) // 4 % 2  # folds go by the remainder of 4
    direction = torch.randn(8, generator=generator)
    x = torch.randn(n, 8, generator=generator) + gap * classes[:, None] * direction / direction.norm()
    found = probed(x, classes[None], folds_of(n))
    best = float(norm.cdf(gap / 2))
    assert float(found.said.mean()) == pytest.approx(best, abs=4 * math.sqrt(best * (1 - best) / n) + 0.005)
    ranked = probed(x, classes[None], folds_of(n), ranked=True)
    assert auroc(ranked.said, classes, folds_of(n).fold) == pytest.approx(float(norm.cdf(gap / math.sqrt(2))), abs=0.02)


@pytest.mark.parametrize("n_classes", [2, 5])
def test_shuffled_labels_give_chance(n_classes):
    n, generator = 1200, torch.Generator().manual_seed(1)
    classes = (torch.arange(n) // 4 % n_classes)[torch.randperm(n, generator=generator)]
    x = torch.randn(n, 16, generator=generator)
    x[torch.arange(n), classes] += 6.0
    found = probed(x, classes[None], folds_of(n), n_controls=25)
    chance = 1 / n_classes
    assert float(found.said.mean()) > 0.99
    # a probe of shuffled labels calls whole classes one thing: it is right or wrong of many prompts at a time
    assert float(found.control.mean()) == pytest.approx(chance, abs=4 * 0.5 / math.sqrt(25 * 4 * n_classes))
    shuffled = classes[torch.randperm(n, generator=generator)]  # of the held-out prompts too
    nothing = probed(x, shuffled[None], folds_of(n))
    assert float(nothing.said.mean()) == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / n))


def test_what_only_a_prompts_own_content_tells_is_not_found():
    """Every content has a fingerprint and a random class: held out by content, a probe can tell nothing."""
    n_keys, copies, width = 60, 10, 80
    generator = torch.Generator().manual_seed(2)
    fingerprints = torch.randn(n_keys, width, generator=generator)
    class_of_key = torch.arange(n_keys) % 2
    keys = [str(i % n_keys) for i in range(n_keys * copies)]
    numbers = torch.tensor([int(key) for key in keys])
    classes = class_of_key[numbers][torch.arange(len(keys))]
    order = torch.randperm(n_keys, generator=generator)  # so that folds and classes are unrelated
    x = fingerprints[numbers] + 0.1 * torch.randn(len(keys), width, generator=generator)
    part = (order % 4)[numbers]
    content = ContentKeys(kind="words", rule="rule", keys=tuple(keys))
    honest = probed(x, classes[None], Folds(fold=part, content=content, n_folds=4))
    assert float(honest.said.mean()) < 0.75
    leaky = probed(x, classes[None], Folds(fold=torch.arange(len(keys)) // n_keys % 4, content=content, n_folds=4))
    assert float(leaky.said.mean()) > 0.99


def test_each_fold_is_what_scikit_learn_says():
    n, generator = 200, torch.Generator().manual_seed(3)
    x = torch.randn(n, 6, generator=generator) * torch.tensor([1.0, 5, 0.1, 2, 1, 1]) + 3
    classes = torch.stack([torch.randint(3, (n,), generator=generator), torch.randint(2, (n,), generator=generator)])
    folds = folds_of(n)
    found = probed(x, classes, folds, strength=0.7)
    for number in range(4):
        test = folds.fold.numpy() == number
        right = np.ones(test.sum(), dtype=bool)
        for part in classes.numpy():
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.7, max_iter=1000))
            probe.fit(x.double().numpy()[~test], part[~test])
            right &= probe.predict(x.double().numpy()[test]) == part[test]
        assert found.said[test].tolist() == right.astype(float).tolist()
    assert found.stalled == 0


def test_constant_activations_tell_nothing():
    classes = torch.arange(80) // 4 % 2
    found = probed(torch.ones(80, 5), classes[None], folds_of(80), ranked=True)
    assert auroc(found.said, classes, folds_of(80).fold) == 0.5
