"""Evidence for one role from all heads of a model: attention, causal effect, what is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval, prompt_means
from circuitkit.core.errors import OptionError
from circuitkit.roles.attention_to import RoleAttention
from circuitkit.roles.significance import all_hold, p_above_chance, p_above_zero


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What evidence must clearly exceed, beyond chance.

    Attributes:
        alpha: Share of false claims that is accepted among all claims.
        attention: Attention on the role's keys, as a share of what chance leaves over.
        effect: Fall of the logit difference, as a share of the model's mean logit difference.
        write: Share of prompts in which the head writes what it should.

    Raises:
        OptionError: One of them is out of range.
    """

    alpha: float = 0.05
    attention: float = 0.2
    effect: float = 0.02
    write: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise OptionError(f"Alpha {self.alpha:g} is no error rate; give a number between 0 and 1, such as 0.05.")
        for name, value in (("attention", self.attention), ("effect", self.effect), ("write", self.write)):
            if not 0 <= value < 1:
                raise OptionError(f"--min-{name} {value:g} can never be exceeded or always is; give 0 up to below 1.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """One kind of evidence for one role, from every head.

    Attributes:
        score: Mean over the role's prompts.
        p: One-sided p-value that the score is neither above chance nor above its floor.
        ci95: Percentile bootstrap interval of the score over prompts; None when intervals are off.
        baseline: The same score of what it is compared with; None where there is nothing.
        measured: Heads that it was measured in; the values of the others mean nothing.
        more: Other figures by name.
    """

    score: Float[Tensor, " head"]
    p: Float[Tensor, " head"]
    ci95: tuple[Float[Tensor, " head"], Float[Tensor, " head"]] | None
    baseline: Float[Tensor, " head"] | None
    measured: Bool[Tensor, " head"]
    more: Mapping[str, Float[Tensor, " head"]] = field(default_factory=dict[str, Tensor])

    def row(self, head: int) -> dict[str, Any] | None:
        """What is known of one head; None if it was not measured."""
        if not bool(self.measured[head]):
            return None
        return {
            "score": self.score[head].item(),
            "p": self.p[head].item(),
            "ci95": None if self.ci95 is None else [bound[head].item() for bound in self.ci95],
            "baseline": None if self.baseline is None else self.baseline[head].item(),
            **{name: values[head].item() for name, values in self.more.items()},
        }


Interval = Callable[[Float[Tensor, "head prompt"]], tuple[Float[Tensor, " head"], Float[Tensor, " head"]] | None]
"""From values to the interval of their mean over prompts."""


def intervals(n_prompts: int, *, n_draws: int, seed: int) -> Interval:
    """Bootstrap over prompts; None for every score where there are no draws or no prompts."""
    if not n_draws or not n_prompts:
        return lambda values: None
    weights = BootstrapWeights(n_prompts=n_prompts, n_draws=n_draws, seed=seed)
    return lambda values: percentile_interval(weights.means(values))


def attention_evidence(
    found: RoleAttention,
    defined: Bool[Tensor, " prompt"],
    *,
    rather_than: RoleAttention | None = None,
    floor: float,
    interval: Interval,
) -> Evidence:
    """The mass on the role's keys: above what moved keys would get, above the floor, and above that on rival keys.

    Args:
        found: Attention to the role's places.
        defined: Prompts that have them.
        rather_than: Attention to the places that must be read less; None where there are none.
        floor: Least share of what chance leaves over.
        interval: Of means over these prompts.
    """
    mass, chance = found.mass[:, defined], found.chance[:, defined]
    score, expected = prompt_means(mass), prompt_means(chance)
    others = (score.sum() - score) / max(1, len(score) - 1)
    p = all_hold(
        p_above_chance(score, expected, n_prompts=mass.shape[1]),
        p_above_zero(mass - chance - floor * (1 - chance)),
    )
    more = {"chance": expected}
    if rather_than is not None:
        rival = rather_than.mass[:, defined]
        p, more["rival"] = all_hold(p, p_above_zero(mass - rival)), prompt_means(rival)
    return Evidence(
        score=score,
        p=p,
        ci95=interval(mass),
        baseline=others,
        measured=torch.ones(len(score), dtype=torch.bool),
        more=more,
    )


def share_evidence(
    found: Float[Tensor, "head prompt"],
    chance: Float[Tensor, " head"],
    defined: Bool[Tensor, " prompt"],
    *,
    floor: float,
    interval: Interval,
) -> Evidence:
    """A share of prompts: above that of other prompts' tokens, and above the floor.

    Args:
        found: Whether, or how often, a head wrote what it should, between 0 and 1.
        chance: The share expected with the tokens of random prompts.
        defined: Prompts that count.
        floor: Least share.
        interval: Of means over these prompts.
    """
    hits = found[:, defined]
    score, n = prompt_means(hits), hits.shape[1]
    floors = torch.full_like(score, floor)
    return Evidence(
        score=score,
        p=all_hold(p_above_chance(score, chance, n_prompts=n), p_above_chance(score, floors, n_prompts=n)),
        ci95=interval(hits),
        baseline=chance.double(),
        measured=torch.ones(len(score), dtype=torch.bool),
    )


def effect_evidence(
    effects: Float[Tensor, "some prompt"],
    controls: Float[Tensor, " prompt"] | None,
    clean: Float[Tensor, " prompt"],
    heads: Sequence[int],
    *,
    n_heads: int,
    floor: float,
    helps: bool,
    interval: Interval,
) -> Evidence:
    """Falls of the logit difference: above a share of the model's own, and above those of random other heads.

    Args:
        effects: Falls with some heads patched, in logits.
        controls: Mean fall with one of the other heads patched; None where there are no other heads.
        clean: The model's own logit difference.
        heads: Numbers of the patched heads.
        n_heads: How many there are in all.
        floor: Least share of the model's mean logit difference.
        helps: Whether the logit difference must fall; if not, it may fall or rise.
        interval: Of means over these prompts.
    """
    own, others = floor * clean, torch.zeros_like(clean) if controls is None else controls

    def p(sign: int) -> Float[Tensor, " some"]:
        return all_hold(p_above_zero(sign * effects - own), p_above_zero(sign * (effects - others)))

    both = p(1) if helps else (2 * torch.minimum(p(1), p(-1))).clamp(max=1)
    found = interval(effects)
    return Evidence(
        score=_spread(prompt_means(effects), heads, n_heads),
        p=_spread(both, heads, n_heads),
        ci95=None if found is None else (_spread(found[0], heads, n_heads), _spread(found[1], heads, n_heads)),
        baseline=None if controls is None else controls.double().mean().expand(n_heads),
        measured=torch.zeros(n_heads, dtype=torch.bool).index_fill(
            0, torch.tensor(heads, dtype=torch.long), value=True
        ),
    )


def _spread(values: Float[Tensor, " some"], heads: Sequence[int], n_heads: int) -> Float[Tensor, " head"]:
    """Values of some heads among those of all; ones elsewhere."""
    out = torch.ones(n_heads, dtype=torch.float64)
    out[list(heads)] = values.double()
    return out
