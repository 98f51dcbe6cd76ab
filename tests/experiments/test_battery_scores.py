"""Scores of the battery against other ways to compute them, and on students that must score as their teacher."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from torch.nn import functional as F

from circuitkit.alignment.align import align
from circuitkit.alignment.fingerprint import fingerprint
from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.experiments.battery.build import Workshop
from circuitkit.experiments.battery.scores import SCORES, Judge, Measured, beyond_control
from circuitkit.experiments.battery.stream_similarity import Rows, linear_cka, matched_blocks, rsa, svcca
from circuitkit.models.loading import load_model
from circuitkit.tasks.loading import load_task

N, DRAWS = 12, 20


@pytest.fixture(scope="module")
def shop():
    return Workshop(load_model("toy-llama"))


@pytest.fixture(scope="module")
def judge(shop):
    return Judge(teacher=shop.teacher, task=load_task("ioi"), n_prompts=N, bootstrap=DRAWS)


def rows(width, *, seed, n=40):
    rng = np.random.default_rng(seed)
    prompt = torch.arange(n).repeat_interleave(2)
    return Rows(
        values=torch.from_numpy(rng.normal(size=(2 * n, width)) * np.arange(1, width + 1)), prompt=prompt, n_prompts=n
    )


def repeated(side, weights):
    """What the first draw of prompts holds, row by row."""
    (block,) = list(weights.blocks())
    times = (block[0] * side.n_prompts).round().long().repeat_interleave(2)
    return side.values.repeat_interleave(times, dim=0).numpy()


def cka_by_kernels(x, y):
    """Kornblith et al. 2019, equation 3: HSIC of centred Gram matrices."""
    centre = np.eye(len(x)) - 1 / len(x)
    k, m = (centre @ side @ side.T @ centre for side in (x, y))
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def svcca_by_svd(x, y):
    """Raghu et al. 2017: singular directions with 99% of the variance, then cosines of the angles between them."""
    bases = []
    for side in (x, y):
        u, s, _ = np.linalg.svd(side - side.mean(0), full_matrices=False)
        share = (s**2).cumsum() / (s**2).sum()
        bases.append(u[:, : int(np.searchsorted(share, 0.99)) + 1])
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()


@pytest.mark.parametrize(("ours", "theirs"), [(linear_cka, cka_by_kernels), (svcca, svcca_by_svd)])
def test_streams_are_compared_as_their_papers_say(ours, theirs):
    one, other = rows(5, seed=1), rows(7, seed=2)
    weights = BootstrapWeights(n_prompts=40, n_draws=1, seed=3)
    found = ours(one, other, weights)
    assert found[0].item() == pytest.approx(theirs(one.values.numpy(), other.values.numpy()), abs=1e-9)
    assert found[1].item() == pytest.approx(theirs(repeated(one, weights), repeated(other, weights)), abs=1e-9)
    assert ours(one, one, None).tolist() == pytest.approx([1.0])


def test_rsa_is_the_rank_correlation_of_distances():
    one, other = rows(5, seed=1), rows(7, seed=2)
    mixed = Rows(values=torch.cat([one.values, 3 * other.values], 1), prompt=one.prompt, n_prompts=40)
    wanted = spearmanr(pdist(one.values.numpy()), pdist(mixed.values.numpy())).statistic
    assert rsa(one, mixed, None).item() == pytest.approx(wanted, abs=1e-3)  # distances are rounded to 1e-5
    drawn = rsa(one, mixed, BootstrapWeights(n_prompts=40, n_draws=30, seed=0))
    assert drawn[1:].mean().item() == pytest.approx(wanted, abs=0.05)


def test_blocks_are_matched_by_depth():
    assert matched_blocks(4, 2) == (1, 3)
    assert matched_blocks(4, 4) == (0, 1, 2, 3)
    assert matched_blocks(12, 6) == (1, 3, 5, 7, 9, 11)
    assert matched_blocks(3, 2) == (1, 2)


def test_figures_are_those_of_align_and_fingerprint(shop, judge):
    student = shop.student("initialised", seed=0).model
    found = judge.scores(student)
    alone = align(shop.teacher, student, load_task("ioi"), n_prompts=N, bootstrap=DRAWS, controls=False)
    assert found["A"].score == pytest.approx(alone.score)
    assert found["A"].ci95 == pytest.approx(alone.scores.ci95)
    assert found["A_w"].score == pytest.approx(alone.scores.circuit_alignment)
    assert found["A*"].score == pytest.approx(alone.scores.calibrated)
    prints = fingerprint(shop.teacher, student, load_task("ioi"), n_prompts=N, bootstrap=DRAWS)
    for name, form in (("F", "F"), ("F one-to-one", "one_to_one"), ("F profile", "profile")):
        assert found[name].score == pytest.approx(prints.scores[form].score)
        assert found[name].ci95 == pytest.approx(prints.scores[form].ci95)
    clean = judge.batch.clean
    logits = [m.raw(clean.ids, attention_mask=clean.mask.long()).logits.detach() for m in (shop.teacher, student)]
    ours, theirs = (side[torch.arange(N), clean.answer_pos] for side in logits)
    wanted = F.kl_div(theirs.log_softmax(-1), ours.log_softmax(-1), log_target=True, reduction="batchmean")
    assert found["KL"].score == pytest.approx(wanted.item(), abs=1e-5)
    assert found["top-1"].score == (ours.argmax(-1) == theirs.argmax(-1)).double().mean().item()


def test_another_basis_changes_no_score_that_must_not_mind_it(shop, judge):
    """F and outputs mind no basis; the teacher itself gets the best of every score."""
    whole = judge.scores(shop.student("identity", seed=0).model)
    for score in SCORES:
        if score.key != "A control":
            assert whole[score.key].score == pytest.approx(score.best, abs=1e-6), score.key
    turned = judge.scores(shop.student("stream-rotated", seed=0).model)
    for name in ("F", "F one-to-one", "F profile", "KL", "top-1", "CKA answer", "RSA tokens"):
        assert turned[name].score == pytest.approx(whole[name].score, abs=1e-4), name
    assert turned["A"].score < 0.5


def test_control_is_put_at_nothing_and_the_teacher_at_1():
    a = {"A": Measured(score=0.7, ci95=(0.6, 0.85))}
    found = beyond_control(a, Measured(score=0.4))
    assert found.score == pytest.approx(0.5)
    assert found.ci95 == pytest.approx((1 / 3, 0.75))
    assert beyond_control(a, Measured(score=1.0)) is None


def test_scores_are_kept(shop, tmp_path):
    judges = [
        Judge(teacher=shop.teacher, task=load_task("numerals"), n_prompts=8, bootstrap=0, folder=tmp_path)
        for _ in range(2)
    ]
    student = shop.student("random", seed=3).model
    first = judges[0].scores(student)
    (file,) = tmp_path.rglob("*.safetensors")
    stamp = file.stat().st_mtime_ns
    assert judges[1].scores(student) == first
    assert file.stat().st_mtime_ns == stamp
    assert first["F"].ci95 is None
