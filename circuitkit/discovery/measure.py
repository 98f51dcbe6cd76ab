"""Two ways to a model's ablated logit differences: measure all, or estimate all and measure what can matter."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import spearmanr
from torch import Tensor

from circuitkit.core.digest import digest
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress
from circuitkit.core.run_directory import ShardStore
from circuitkit.discovery.audit import audited_prompts, calibrate, to_measure
from circuitkit.discovery.normalize import Normalize, Sign
from circuitkit.discovery.screen import Screen
from circuitkit.interventions.ablation import Ablation
from circuitkit.interventions.attribution import estimate_sweep
from circuitkit.interventions.chosen_prompts import sweep_prompts, when_needed
from circuitkit.interventions.replacement import Replacement, fitting_replacement
from circuitkit.interventions.row_budget import BatchSize
from circuitkit.interventions.sweep import Sweep, sweep
from circuitkit.interventions.sweep_key import sweep_key
from circuitkit.models.hooked_model import HookedModel
from circuitkit.tasks.batch import PromptBatch

Method = Literal["exact", "screen"]
GRADIENT_COST = 3
"""Forward passes that one forward and one backward pass are counted as."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """One model, its prompts and the options of their sweeps.

    Attributes:
        model: The model.
        batch: The prompts.
        ablation: What replaces an activation.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        versions: Versions of what computes, for the shards' names.
        stage: Name of this work in progress reports.
        progress: Called as the work advances.
    """

    model: HookedModel
    batch: PromptBatch
    ablation: Ablation
    batch_size: BatchSize
    resume: Path | None
    versions: Mapping[str, str]
    stage: str
    progress: Progress

    def exact(self) -> Sweep:
        """Ablate every component on every prompt."""
        return sweep(
            self.model,
            self.batch,
            ablation=self.ablation,
            batch_size=self.batch_size,
            store=ShardStore(self.resume, self._key()) if self.resume else None,
            stage=self.stage,
            progress=self.progress,
        )

    def screened(self, *, normalize: Normalize, sign: Sign, seed: int) -> tuple[Sweep, Screen]:
        """Estimate everything, audit the estimates on a sample of the prompts, measure what can matter.

        Args:
            normalize: How drops will be scaled to influences, which says how exact they have to be.
            sign: How components count whose ablation helps.
            seed: Seed of the choice of audited prompts.

        Returns:
            Logit differences as `sweep` gives them, and which of them are estimates.
        """
        source = when_needed(self._source)
        every = torch.ones(len(self.model.components), dtype=torch.bool)
        audited = audited_prompts(len(self.batch.pairs), seed=seed)
        rest = torch.ones(len(self.batch.pairs), dtype=torch.bool).scatter(0, audited, value=False).nonzero().squeeze(1)
        estimated = self._estimate(source)
        first, clean = estimated.clean - estimated.ablated, estimated.clean.clone()
        audit = self._measure(every, audited, source, "audit")
        clean[audited] = audit.clean
        is_mlp = torch.tensor([c.kind == "mlp" for c in self.model.components])
        found = calibrate(first, audit.clean - audit.ablated, audited, is_mlp)
        share, rounds = len(audited) / len(clean), 0
        choose = partial(to_measure, cost=self._cost(), normalize=normalize, sign=sign, audited_share=share)
        while bool((wanted := choose(found)).any()):
            rounds += 1
            measured = self._measure(wanted, rest, source, "exact" if rounds == 1 else f"exact, round {rounds}")
            clean[rest] = measured.clean
            drops = found.drops[wanted]
            drops[:, rest] = (measured.clean - measured.ablated).double()
            found = found.measured(wanted, drops)
        screen = Screen(
            exact=found.exact,
            deviation=found.deviation,
            rank_correlation=_rank_correlation(first.mean(1)[found.exact], found.drops.mean(1)[found.exact]),
            saved=self._saved(found.exact, share),
        )
        return Sweep(components=self.model.components, clean=clean, ablated=(clean - found.drops).float()), screen

    def _source(self) -> Replacement:
        def report(stage: str, done: int, total: int) -> None:
            self.progress(f"{self.stage}: {stage}", done, total)

        return fitting_replacement(self.model, self.batch, self.ablation, batch_size=self.batch_size, progress=report)

    def _estimate(self, source: Replacement) -> Sweep:
        return estimate_sweep(
            self.model,
            self.batch,
            source=source,
            batch_size=self.batch_size,
            store=self._store("gradients"),
            stage=f"{self.stage}: gradients",
            progress=self.progress,
        )

    def _measure(
        self, components: Bool[Tensor, " component"], prompts: Int[Tensor, " chosen"], source: Replacement, what: str
    ) -> Sweep:
        chosen = [c for c, wanted in zip(self.model.components, components.tolist(), strict=True) if wanted]
        return sweep_prompts(
            self.model,
            self.batch,
            prompts,
            components=chosen,
            source=source,
            batch_size=self.batch_size,
            store=self._store("exact", [str(c) for c in chosen], prompts.tolist()),
            stage=f"{self.stage}: {what}",
            progress=self.progress,
        )

    def _store(self, *what: object) -> ShardStore | None:
        """Shards of one step; the digest holds all that its numbers depend on."""
        return ShardStore(self.resume, digest([self._key(), "screen", *what])) if self.resume else None

    def _key(self) -> str:
        return sweep_key(
            self.model, self.batch, self.ablation, components=self.model.components, versions=self.versions
        )

    def _cost(self) -> Float[Tensor, " component"]:
        """Block evaluations of each component on one prompt."""
        return torch.tensor([float(self.model.info.n_layers - c.layer) for c in self.model.components]).double()

    def _saved(self, exact: Bool[Tensor, " component"], audited_share: float) -> float:
        cost = self._cost()
        measured = audited_share + (1 - audited_share) * float(cost[exact].sum() / cost.sum())
        return 1 - measured - GRADIENT_COST * self.model.info.n_layers / float(cost.sum())


def _rank_correlation(estimated: Float[Tensor, " measured"], exact: Float[Tensor, " measured"]) -> float | None:
    """None where there are fewer than three values, or all are alike."""
    if len(exact) < 3 or not all(bool((x != x[0]).any()) for x in (estimated, exact)):
        return None
    found: Any = spearmanr(estimated.numpy(), exact.numpy())  # scipy's stubs do not know its result
    return float(found.statistic)


def parse_method(method: str) -> Method:
    """How influence is measured, checked.

    Raises:
        OptionError: There is no such method.
    """
    if method not in get_args(Method):
        raise OptionError(f"Method {method!r} unknown; choose one of {', '.join(get_args(Method))}.")
    return cast(Method, method)
