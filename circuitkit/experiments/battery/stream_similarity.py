"""Similarity of the residual streams of two models: linear CKA, SVCCA and RSA, what scores of circuits compete with.

Blocks are matched by depth: block s of n student blocks (from 1) goes with block s N / n of N teacher blocks, rounded,
so that the last goes with the last. A figure is the mean over the student's blocks, each compared behind the block
(`resid_post`), either at the answer position of every prompt or at all tokens of all prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import einsum, rearrange, reduce
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

KEPT_VARIANCE = 0.99
RSA_TOKENS = 2
_ROUNDED = 1e5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Activations of one block, a row a position.

    Attributes:
        values: The activations (float64).
        prompt: The prompt that each row is of.
        n_prompts: How many prompts there are.
    """

    values: Float[Tensor, "row width"]
    prompt: Int[Tensor, " row"]
    n_prompts: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Streams:
    """The residual stream of one model on some prompts.

    Attributes:
        answer: At the answer position, behind every block.
        tokens: At all tokens, behind every block.
        sample: At a few tokens of every prompt, the same ones of all models that read the prompts alike.
    """

    answer: tuple[Rows, ...]
    tokens: tuple[Rows, ...]
    sample: tuple[Rows, ...]


def matched_blocks(n_teacher: int, n_student: int) -> tuple[int, ...]:
    """The teacher's block that each of the student's is compared with."""
    return tuple(max(0, (2 * (s + 1) * n_teacher + n_student) // (2 * n_student) - 1) for s in range(n_student))


def read_streams(model: HookedModel, batch: PromptBatch, *, seed: int) -> Streams:
    """Run the clean prompts and keep the residual stream behind every block.

    Args:
        model: The model.
        batch: The prompts.
        seed: Seed of the tokens that are sampled.
    """
    clean, n = batch.clean, len(batch.pairs)
    found = model.capture(clean.ids, clean.mask, ["resid_post"], None)["resid_post"]
    row, generator = torch.arange(n), torch.Generator().manual_seed(seed)
    owner = clean.mask.nonzero()[:, 0]
    drawn = torch.rand(clean.mask.shape, generator=generator).masked_fill(~clean.mask, -1).topk(RSA_TOKENS).indices
    answer: list[Rows] = []
    tokens: list[Rows] = []
    sample: list[Rows] = []
    for layer in sorted(found):
        x = found[layer].cpu().double()
        answer.append(Rows(values=x[row, clean.answer_pos], prompt=row, n_prompts=n))
        tokens.append(Rows(values=x[clean.mask], prompt=owner, n_prompts=n))
        taken = rearrange(x[row[:, None], drawn], "prompt token width -> (prompt token) width")
        sample.append(Rows(values=taken, prompt=row.repeat_interleave(RSA_TOKENS), n_prompts=n))
    return Streams(answer=tuple(answer), tokens=tuple(tokens), sample=tuple(sample))


Compare = Callable[[Rows, Rows, BootstrapWeights | None], Float[Tensor, " draw"]]


def mean_over_blocks(
    compare: Compare, teacher: Sequence[Rows], student: Sequence[Rows], weights: BootstrapWeights | None
) -> Float[Tensor, " draw"]:
    """Mean of a similarity over matched blocks; the first entry is on the prompts as they are, then come the draws."""
    pairs = zip(matched_blocks(len(teacher), len(student)), student, strict=True)
    return torch.stack([compare(teacher[t], mine, weights) for t, mine in pairs]).mean(0)


def linear_cka(one: Rows, other: Rows, weights: BootstrapWeights | None) -> Float[Tensor, " draw"]:
    """|X'Y|^2 / (|X'X| |Y'Y|) of centred rows, Frobenius norms (Kornblith et al. 2019, section 3)."""
    xx, xy, yy = _covariances(one, other, weights)
    return xy.square().sum((1, 2)) / (xx.square().sum((1, 2)) * yy.square().sum((1, 2))).sqrt().clamp(min=1e-300)


def svcca(one: Rows, other: Rows, weights: BootstrapWeights | None) -> Float[Tensor, " draw"]:
    """Mean canonical correlation of the leading directions that hold 99% of the variance (Raghu et al. 2017, 2.1)."""
    found: list[Tensor] = []
    for xx, xy, yy in zip(*_covariances(one, other, weights), strict=True):
        white = _whitener(xx).T @ xy @ _whitener(yy)
        found.append(torch.linalg.svdvals(white).clamp(max=1).mean())
    return torch.stack(found)


def rsa(one: Rows, other: Rows, weights: BootstrapWeights | None) -> Float[Tensor, " draw"]:
    """Rank correlation of the Euclidean distances between all rows (Kriegeskorte et al. 2008; distance: Nili 2014).

    Distances between a row and itself, drawn twice, are left out.
    """
    apart = _distances(one.values), _distances(other.values)
    at = torch.arange(len(one.prompt))
    found = [_rank_correlation(*apart, at)]
    if weights is not None:
        of_prompt = [(one.prompt == p).nonzero()[:, 0] for p in range(one.n_prompts)]
        for block in weights.blocks():
            for share in block:
                times = (share * one.n_prompts).round().long()
                drawn = [rows for rows, n in zip(of_prompt, times.tolist(), strict=True) for _ in range(n)]
                found.append(_rank_correlation(*apart, torch.cat(drawn)))
    return torch.tensor(found, dtype=torch.float64)


def _covariances(
    one: Rows, other: Rows, weights: BootstrapWeights | None
) -> tuple[Float[Tensor, "draw x x"], Float[Tensor, "draw x y"], Float[Tensor, "draw y y"]]:
    """Covariances on the prompts as they are, then in every draw of prompts."""
    means = one.values.mean(0), other.values.mean(0)  # taken out first, so that little is lost to rounding below
    x, y = one.values - means[0], other.values - means[1]
    sides = {"x": x, "y": y}
    per_prompt = {side: _sums(values, one) for side, values in sides.items()}
    rows = torch.bincount(one.prompt, minlength=one.n_prompts).double()
    n = _drawn(rows, weights)
    first = {side: _drawn(sums, weights) / n[:, None] for side, sums in per_prompt.items()}

    def second(a: str, b: str) -> Tensor:
        products = torch.zeros(one.n_prompts, sides[a].shape[1], sides[b].shape[1], dtype=torch.float64)
        for prompt in range(one.n_prompts):
            mine = one.prompt == prompt
            products[prompt] = sides[a][mine].T @ sides[b][mine]
        outer = einsum(first[a], first[b], "draw a, draw b -> draw a b")
        return _drawn(rearrange(products, "prompt a b -> a b prompt"), weights) / n[:, None, None] - outer

    return second("x", "x"), second("x", "y"), second("y", "y")


def _sums(values: Float[Tensor, "row width"], rows: Rows) -> Float[Tensor, "width prompt"]:
    return torch.zeros(values.shape[1], rows.n_prompts, dtype=torch.float64).index_add_(1, rows.prompt, values.T)


def _drawn(values: Float[Tensor, "*axes prompt"], weights: BootstrapWeights | None) -> Float[Tensor, "draw *axes"]:
    whole = reduce(values, "... prompt -> ...", "mean")[None]
    return whole if weights is None else torch.cat([whole, weights.means(values)])


def _whitener(covariance: Float[Tensor, "width width"]) -> Float[Tensor, "width kept"]:
    size, axes = torch.linalg.eigh(covariance)
    size, axes = size.flip(0).clamp(min=0), axes.flip(1)
    share = size.cumsum(0) / size.sum().clamp(min=1e-300)
    kept = min(len(size), 1 + int((share < KEPT_VARIANCE).sum()))
    return axes[:, :kept] / size[:kept].clamp(min=1e-300).sqrt()


def _distances(values: Float[Tensor, "row width"]) -> Float[Tensor, "row row"]:
    """Rounded to 1e-5 of their mean: what is equal but for rounding must stay equal in rank."""
    found = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    return (found / found.mean().clamp(min=1e-300) * _ROUNDED).round()


def _rank_correlation(
    one: Float[Tensor, "row row"],
    other: Float[Tensor, "row row"],
    at: Int[Tensor, " drawn"],
) -> float:
    """Spearman's, over pairs of drawn rows that are not one row drawn twice; 0 where one side does not vary."""
    left, right = torch.triu_indices(len(at), len(at), offset=1)
    a, b = at[left], at[right]
    a, b = a[a != b], b[a != b]
    ranks = torch.stack([torch.from_numpy(rankdata(side[a, b].numpy())) for side in (one, other)])
    return float(torch.corrcoef(ranks)[0, 1].nan_to_num(0.0))
