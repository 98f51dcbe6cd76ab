"""Principal components of matched MLPs against scikit-learn, scipy and laws."""

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from study_pairs import load_task, make_pair

from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.core.errors import OptionError
from circuitkit.experiments.experiment import run_study
from circuitkit.experiments.pair import measure_pair
from circuitkit.experiments.pca_matched import MOST_GROUPS, OTHERS, grouping, matched_pca
from circuitkit.experiments.pca_statistics import (
    PERMUTATIONS,
    between_groups,
    canonical,
    canonical_with,
    plane_agreement,
    plane_interval,
    shuffled_variance,
    variance_intervals,
)
from circuitkit.experiments.pca_tables import random_cosine
from circuitkit.experiments.study_options import StudyOptions
from circuitkit.models.loading import load_model

PAIRS = [
    ("toy-gpt2", "toy-distilgpt2"),
    ("toy-bert", "toy-distilbert"),
    ("toy-llama", "toy-minitron"),
    ("toy-gpt2", "toy-distilbert"),
]
MLPS = {
    "gpt2": lambda raw, n: raw.transformer.h[n].mlp,
    "bert": lambda raw, n: raw.bert.encoder.layer[n].output.dense,
    "distilbert": lambda raw, n: raw.distilbert.transformer.layer[n].ffn.lin2,
    "llama": lambda raw, n: raw.model.layers[n].mlp,
}


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def pair(request):
    return make_pair(*request.param, n_prompts=16, task="numerals")


@pytest.fixture(scope="module")
def study(pair):
    return run_study("pca", [pair], StudyOptions(top=1))


def raw_outputs(model, batch, layer):
    """What one MLP of the Hugging Face model writes at the answer position, prompt by prompt."""
    kept = []
    handle = MLPS[model.info.family](model.raw, layer).register_forward_hook(lambda _m, _a, out: kept.append(out))
    with torch.no_grad():
        for row in range(len(batch.pairs)):
            model.raw(batch.clean.ids[row : row + 1, : int(batch.clean.mask[row].sum())])
    handle.remove()
    return np.stack([x[0, int(p)].double().numpy() for x, p in zip(kept, batch.clean.answer_pos, strict=True)])


def test_components_are_those_of_scikit_learn_on_raw_outputs(pair, study):
    directions, points = study.frame("directions"), study.frame("points")
    for (teacher, student), rows in directions.groupby(["teacher", "student"]):
        for who, name, model, batch in (
            ("teacher", teacher, pair.teacher_model, pair.batches[0]),
            ("student", student, pair.student_model, pair.batches[1]),
        ):
            x = raw_outputs(model, batch, int(name[3:]))
            fitted = PCA(n_components=3).fit(x)
            np.testing.assert_allclose(rows[f"{who}_variance"], fitted.explained_variance_ratio_, atol=1e-4)
            own = points[(points["teacher"] == teacher) & (points["student"] == student)]
            if len(own):
                expected = fitted.transform(x)
                for k in (1, 2):
                    np.testing.assert_allclose(own[f"{who}_{k}"].abs(), abs(expected[:, k - 1]), atol=1e-3)
    assert len(points) == len(pair.batches[0].pairs)


def test_planes_beside_scikit_learns_cca(pair, study):
    """The canonical correlation of the planes, and of the match among all MLPs of the student."""
    planes, points = study.frame("planes"), study.frame("points")
    coordinates = [points[[f"{who}_1", f"{who}_2"]].to_numpy() for who in ("teacher", "student")]
    turned = CCA(n_components=1, max_iter=5000, tol=1e-12).fit_transform(*coordinates)
    row = planes.iloc[0]
    assert row["canonical"] == pytest.approx(abs(np.corrcoef(*(x[:, 0] for x in turned))[0, 1]), abs=1e-4)
    assert row["canonical_ci95"][0] <= row["canonical_ci95"][1] <= 1
    assert row["canonical_null"] < 1 and 1 / (PERMUTATIONS + 1) <= row["canonical_p"] <= 1
    found = matched_pca(pair)
    assert [f"MLP{one.pca.layers[0]}" for one in found] == planes["teacher"].tolist()
    for one, (_, row) in zip(found, planes.iterrows(), strict=True):
        assert one.canonical[one.pca.layers[1]] == pytest.approx(row["canonical"], abs=1e-5)
        assert row["canonical_rank"] == 1 + sum(float(x) > row["canonical"] + 1e-6 for x in one.canonical)
        assert one.pca.layers[1] == int(pair.similarity().mlps[one.pca.layers[0]].argmax())
    assert planes["influence"].tolist() == sorted(planes["influence"], reverse=True)


def test_every_number_of_a_figure_is_in_a_table(pair, study):
    points, directions = study.frame("points"), study.frame("directions")
    first = directions[directions["direction"] == 1]
    drawn = [figure for figure in study.figures.values() if figure.kind == "scatter"]
    assert len(drawn) == 2
    for who, figure in zip(("teacher", "student"), drawn, strict=True):
        told = sorted((x, y) for group in figure.groups for x, y in zip(group.x, group.y, strict=True))
        rows = sorted(zip(points[f"{who}_1"], points[f"{who}_2"], strict=True))
        np.testing.assert_allclose(told, rows, atol=1e-5)
        for group in figure.groups:
            own = points[points["answer"] == group.name]
            np.testing.assert_allclose(sorted(group.x), sorted(own[f"{who}_1"]), atol=1e-5)
    shares = {series.name: series for series in study.figures["variance"].series}
    for who in ("teacher", "student"):
        assert list(shares[who].y) == first[f"{who}_variance"].tolist()
        assert list(zip(shares[who].low, shares[who].high, strict=True)) == first[f"{who}_ci95"].tolist()
        assert list(shares[f"{who}, shuffled"].y) == first[f"{who}_null"].tolist()
    if pair.teacher_model.info.d_model == pair.student_model.info.d_model:
        assert list(study.figures["cosines"].series[0].y) == first["cosine"].tolist()


def test_a_model_beside_itself():
    study = run_study("pca", [make_pair("toy-gpt2", "toy-gpt2", n_prompts=24, task="numerals")])
    directions, planes = study.frame("directions"), study.frame("planes")
    assert directions["cosine"].tolist() == pytest.approx([1.0] * 12, abs=1e-4)
    assert directions["correlation"].tolist() == pytest.approx([1.0] * 12, abs=1e-4)
    assert planes["canonical"].tolist() == pytest.approx([1.0] * 4, abs=1e-4)
    assert (planes["canonical_rank"] == 1).all()
    assert (planes["canonical_p"] == 1 / (PERMUTATIONS + 1)).all()


def test_other_widths_have_no_cosines(tiny_models, wide_dir):
    models = tiny_models["gpt2"], load_model(wide_dir, device="cpu")
    study = run_study("pca", [measure_pair(*models, load_task("ioi"), n_prompts=8, bootstrap=0)])
    assert study.frame("directions")["cosine"].isna().all() and "cosines" not in study.figures
    assert any("have no cosine" in notice for notice in study.notices)
    assert study.frame("directions")["teacher_ci95"].isna().all()
    with pytest.raises(OptionError, match="One prompt does not vary"):
        run_study("pca", [measure_pair(*models, load_task("ioi"), n_prompts=1, bootstrap=0)])


def test_intervals_of_shares_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 6, generator=generator) * torch.tensor([3.0, 2.0, 1.0, 1.0, 1.0, 1.0]) + 5
    fitted = PCA(n_components=2).fit(x.numpy())
    coordinates = torch.from_numpy(fitted.transform(x.numpy()))
    weights = BootstrapWeights(n_prompts=30, n_draws=50, seed=2)
    draws = []
    for block in weights.blocks():
        for draw in block.numpy():
            rows = np.repeat(x.numpy(), np.rint(draw * 30).astype(int), 0).astype(float)
            along = rows @ fitted.components_.T
            draws.append(along.var(0) / rows.var(0).sum())
    expected = np.quantile(draws, [0.025, 0.975], axis=0).T
    np.testing.assert_allclose(variance_intervals(x, coordinates, weights), expected, atol=1e-6)
    assert variance_intervals(x, coordinates, None) == [None, None]
    assert variance_intervals(torch.ones(30, 6), torch.zeros(30, 2), weights) == [None, None]


def test_shuffling_keeps_variances_and_loses_what_is_shared():
    """One thing in all coordinates is found as one direction, and is gone when they are shuffled."""
    one = torch.randn(200, 1, generator=torch.Generator().manual_seed(0)).expand(200, 10)
    shares = shuffled_variance(one, 10, seed=0)
    assert float(PCA(1).fit(one.numpy()).explained_variance_ratio_[0]) == pytest.approx(1)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-9)
    assert (shares[:, 0] < 0.25).all()  # 0.1 each, and what 200 prompts leave to chance
    wide = shuffled_variance(torch.randn(5, 40, generator=torch.Generator().manual_seed(1)), 5, seed=0)
    np.testing.assert_allclose(wide[:, :4].sum(1), 1, atol=1e-9)  # five centred vectors span four directions
    assert float(shuffled_variance(torch.ones(4, 3), 2, seed=0).sum()) == 0


def test_canonical_correlation_ignores_how_planes_are_turned():
    generator = torch.Generator().manual_seed(3)
    one, other = (torch.randn(40, 2, dtype=torch.float64, generator=generator) for _ in range(2))
    other = other + one
    value = float(canonical(one, other))
    mixed = one @ torch.tensor([[2.0, 1.0], [-0.5, 3.0]], dtype=torch.float64) + 7
    assert float(canonical(mixed, other)) == pytest.approx(value, abs=1e-9)
    assert float(canonical(one, mixed)) == pytest.approx(1)
    several = canonical_with(one, torch.stack([mixed, other, torch.zeros(40, 2, dtype=torch.float64)]))
    assert several.tolist()[:2] == pytest.approx([1, value]) and several.isnan().tolist() == [False, False, True]
    weights = BootstrapWeights(n_prompts=40, n_draws=30, seed=0)
    draws = [
        float(canonical(*(x.repeat_interleave((draw * 40).round().long(), 0) for x in (one, other))))
        for block in weights.blocks()
        for draw in block
    ]
    np.testing.assert_allclose(plane_interval(one, other, weights), np.quantile(draws, [0.025, 0.975]), atol=1e-6)
    assert plane_agreement(one, torch.zeros(40, 2), seed=0) is None
    assert plane_agreement(one[:3], other[:3], seed=0) is None


def test_chance_gives_even_p_values():
    """Planes that have nothing in common: p is small no more often than it should be."""
    generator = torch.Generator().manual_seed(5)
    p, q = [], []
    for seed in range(60):
        one, other = (torch.randn(12, 2, dtype=torch.float64, generator=generator) for _ in range(2))
        p.append(plane_agreement(one, other, seed=seed)[2])
        q.append(between_groups(one, ["a", "b", "c"] * 4, seed=seed)[2])
    for found in (p, q):
        assert 0.3 < np.mean(found) < 0.7
        assert sum(x <= 0.05 for x in found) <= 8


def test_variance_between_groups_is_that_of_the_f_test():
    x = torch.randn(15, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = torch.cat([x, torch.zeros_like(x)], 1)
    groups = ["a"] * 5 + ["b"] * 7 + ["c"] * 3
    share, null, _ = between_groups(points, groups, seed=0)
    f = f_oneway(*(x[[i for i, g in enumerate(groups) if g == name], 0].numpy() for name in "abc")).statistic
    assert share == pytest.approx(f * 2 / (f * 2 + 12))
    assert null == pytest.approx(2 / 14, abs=0.03)  # (groups - 1) / (prompts - 1)
    assert between_groups(points, ["a"] * 15, seed=0) is None
    assert between_groups(points, list("abcdefghijklmno"), seed=0) is None


def test_random_cosines():
    drawn = torch.nn.functional.normalize(torch.randn(20000, 9, generator=torch.Generator().manual_seed(0)), dim=1)
    assert random_cosine(9) == pytest.approx(float(drawn[:, 0].abs().mean()), abs=0.01)
    assert random_cosine(2) == pytest.approx(2 / np.pi)


def test_prompts_are_told_apart_by_what_is_few():
    numerals = grouping(make_pair(n_prompts=24, task="numerals").batches[0])
    assert numerals.name == "answer" and list(numerals.shown) == sorted(numerals.shown, key=int)
    names = grouping(make_pair(n_prompts=64, task="ioi").batches[0])
    if names.name == "answer":
        assert len(names.shown) == MOST_GROUPS - 1
    assert OTHERS not in names.groups
