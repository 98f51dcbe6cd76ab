"""Fingerprints of the components that matter most: which these are is screened, and what is left out is bounded."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr, t
from torch import Tensor

from circuitkit.alignment.fingerprint_gradients import estimate_fingerprints
from circuitkit.alignment.fingerprint_sweep import Fingerprints, fingerprints
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.chosen_prompts import chosen_prompts
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.position_groups import PositionGroups, position_groups

AUDITED_SHARE = 8
FEWEST_AUDITED = 8
LEVEL = 0.975


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintScreen:
    """What screening kept of one model, and what it left out.

    Attributes:
        n_components: Components of the model.
        n_kept: Those measured exactly on every prompt; only they take part in scores.
        n_audited: Prompts on which all were measured.
        kept_mass: Mass of the fingerprints that were kept, in logits.
        discarded_mass: Estimated mass of the others, in logits.
        discarded_bound: What it is at most, in logits: an upper confidence limit (nominally 97.5%).
        rank_correlation: Spearman's, between the masses that gradients give and those measured on the audited
            prompts; None where it is undefined.
    """

    n_components: int
    n_kept: int
    n_audited: int
    kept_mass: float
    discarded_mass: float
    discarded_bound: float
    rank_correlation: float | None

    @property
    def share_left_out(self) -> float:
        """At most this share (0 to 1) of the model's whole mass was left out."""
        whole = self.kept_mass + self.discarded_bound
        return self.discarded_bound / whole if whole else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "n_components": self.n_components,
            "n_kept": self.n_kept,
            "n_audited_prompts": self.n_audited,
            "kept_mass": self.kept_mass,
            "discarded_mass": self.discarded_mass,
            "discarded_bound": self.discarded_bound,
            "share_left_out": self.share_left_out,
            "rank_correlation": self.rank_correlation,
        }


def parse_choice(components: str) -> int | None:
    """Read `all` (None) or `top:K`.

    Raises:
        OptionError: It is neither, or K is not positive.
    """
    if components == "all":
        return None
    start, _, number = components.partition(":")
    if start == "top" and number.isdecimal() and int(number) > 0:
        return int(number)
    raise OptionError(f"Fingerprint components {components!r} not understood; give all, or top:K with K from 1 up.")


def screened_fingerprints(
    model: HookedModel,
    batch: PromptBatch,
    *,
    top: int | None,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    resume: Path | None = None,
    stage: str = "fingerprints",
    progress: Progress = silent,
) -> tuple[Fingerprints, FingerprintScreen | None]:
    """Measure the components with the heaviest fingerprints exactly, and leave the others out.

    Gradients estimate every effect on every prompt; an eighth of the prompts (8 at least), drawn at random, are
    measured exactly for all components. The mean gradient estimate over all prompts plus its mean error on the audited
    ones (the difference estimator: Cochran 1977, section 7.3) is unbiased for each cell, so that the sum of its
    sizes is, on average, no less than the mass. The bound adds, component by component, Student's t times the
    jackknife error, as if all errors went the same way.

    Args:
        model: The model.
        batch: Prompts with their counterfactuals.
        top: How many components to keep; None is all, and nothing is screened.
        seed: Seed of the choice of audited prompts.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        stage: Name of this work in progress reports.
        progress: Called as the work advances.

    Raises:
        OptionError: As `fingerprints`.
        ModelError: Logits or gradients are not finite.
    """
    n, places = len(batch.pairs), position_groups(batch)

    def measure(prompts: Int[Tensor, " some"], kept: Bool[Tensor, " component"], what: str) -> Fingerprints:
        # groups are made of all prompts: those of some may come in another order
        return fingerprints(
            model,
            chosen_prompts(batch, prompts),
            components=[c for c, wanted in zip(model.components, kept.tolist(), strict=True) if wanted],
            places=PositionGroups(names=places.names, masks=places.masks[:, prompts]),
            batch_size=batch_size,
            resume=resume,
            stage=what,
            progress=progress,
        )

    every = torch.ones(len(model.components), dtype=torch.bool)
    if top is None:
        return measure(torch.arange(n), every, stage), None
    audited = _audited(n, seed=seed)
    rest = torch.ones(n, dtype=torch.bool).scatter(0, audited, value=False).nonzero().squeeze(1)
    estimated = estimate_fingerprints(
        model, batch, places.masks, batch_size=batch_size, stage=f"{stage}: gradients", progress=progress
    )
    audit = measure(audited, every, f"{stage}: audit")
    error = (audit.effects - estimated[..., audited]).double()
    first = estimated.double().mean(-1)
    masses = (first + error.mean(-1)).abs().sum((1, 2))
    kept = torch.zeros_like(every).scatter(0, masses.topk(min(top, len(every))).indices, value=True)
    found = audit if not len(rest) else measure(rest, kept, f"{stage}: kept")
    whole = _joined(batch, audit, found, kept, (audited, rest))
    screen = FingerprintScreen(
        n_components=len(every),
        n_kept=int(kept.sum()),
        n_audited=len(audited),
        kept_mass=float(whole.mean.abs().sum()),
        discarded_mass=float(masses[~kept].sum()),
        discarded_bound=_bound(first[~kept], error[~kept], n_prompts=n),
        rank_correlation=_rank_correlation(
            estimated[..., audited].mean(-1).abs().sum((1, 2)), audit.mean.abs().sum((1, 2))
        ),
    )
    return whole, screen


def score_range(
    F: float, teacher: FingerprintScreen | None, student: FingerprintScreen | None
) -> tuple[float, float] | None:
    """Where F of all components lies, if no more was left out than bounded; None where nothing was screened.

    What was left out adds to the mass that F is a share of, and can share at most itself with the other model: with
    m the mass left out and T the mass kept, F T / (T + m) <= F of all <= (F T + 2 m) / (T + m), and never above
    what the lighter model's mass allows. This takes the matching to be the best there is.

    Args:
        F: The score of the components that were kept.
        teacher: Screening of the teacher.
        student: Screening of the student.
    """
    if teacher is None or student is None:
        return None
    kept, left = (teacher.kept_mass + student.kept_mass), (teacher.discarded_bound + student.discarded_bound)
    if not kept + left:
        return 0.0, 0.0
    lighter = min(side.kept_mass + side.discarded_bound for side in (teacher, student))
    most = min(F * kept + 2 * left, max(F * kept, 2 * lighter))
    return F * kept / (kept + left), most / (kept + left)


def _audited(n_prompts: int, *, seed: int) -> Int[Tensor, " audited"]:
    n = min(n_prompts, max(FEWEST_AUDITED, n_prompts // AUDITED_SHARE))
    return torch.randperm(n_prompts, generator=torch.Generator().manual_seed(seed))[:n].sort().values


def _joined(
    batch: PromptBatch,
    audit: Fingerprints,
    found: Fingerprints,
    kept: Bool[Tensor, " component"],
    prompts: tuple[Int[Tensor, " audited"], Int[Tensor, " rest"]],
) -> Fingerprints:
    """The kept components on all prompts."""
    n = len(batch.pairs)
    components = tuple(c for c, wanted in zip(audit.components, kept.tolist(), strict=True) if wanted)
    effects, clean = torch.zeros(len(components), *audit.effects.shape[1:-1], n), torch.zeros(n)
    audited, rest = prompts
    effects[..., audited], clean[audited] = audit.effects[kept], audit.clean
    if len(rest):
        effects[..., rest], clean[rest] = found.effects, found.clean
    return replace(audit, components=components, effects=effects, clean=clean, prompt_index=batch.prompt_index)


def _bound(
    first: Float[Tensor, "component kind group"],
    error: Float[Tensor, "component kind group audited"],
    *,
    n_prompts: int,
) -> float:
    """Upper confidence limit of the mass, in logits."""
    m = error.shape[-1]
    mass = float((first + error.mean(-1)).abs().sum())
    if m == n_prompts or m < 2:
        return mass
    without = (error.sum(-1, keepdim=True) - error) / (m - 1)
    left_out = (first[..., None] + without).abs().sum((1, 2))
    deviations = ((m - 1) / m * (left_out - left_out.mean(-1, keepdim=True)).square().sum(-1)).sqrt()
    return mass + float(t.ppf(LEVEL, m - 1)) * float(deviations.sum())


def _rank_correlation(one: Float[Tensor, " component"], other: Float[Tensor, " component"]) -> float | None:
    if len(one) < 2 or len(one.unique()) == 1 or len(other.unique()) == 1:
        return None
    found: Any = spearmanr(one.numpy(), other.numpy())  # scipy's stubs do not know its result
    return float(found.statistic)
