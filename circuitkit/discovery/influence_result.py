"""Influence of every component of a model, with the effects that it comes from; how it prints, saves and resamples."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, bootstrap_weights, percentile_interval, prompt_means
from circuitkit.core.component import Component
from circuitkit.core.run_directory import save_run
from circuitkit.discovery.baseline import Baseline, measure_baseline
from circuitkit.discovery.normalize import Normalize, Sign, influence_unit, normalize_influence
from circuitkit.discovery.screen import Screen
from circuitkit.models.info import ModelInfo

SCHEMA = "circuitkit.influence/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Influence:
    """Influence of every component of one model on one task, with the per-prompt effects it comes from.

    Attributes:
        model: The model measured.
        task: Name, hash and prompt counts of the task.
        components: Row order of `ablated`.
        clean: Logit difference of the intact model per prompt, in logits.
        ablated: Logit difference with one component ablated, in logits.
        normalize: How drops were scaled to influences.
        sign: How components were counted whose ablation helps.
        n_draws: Bootstrap draws behind the intervals; 0 means none, and of one prompt there are none either.
        settings: Every option of the measurement.
        made_with: Versions, device, dtype and command.
        notices: Plain facts about the prompts that a reader must see.
        screen: Which values are estimates, and how good; None where every component was measured exactly.
    """

    model: ModelInfo
    task: Mapping[str, Any]
    components: tuple[Component, ...]
    clean: Float[Tensor, " prompt"]
    ablated: Float[Tensor, "component prompt"]
    normalize: Normalize
    sign: Sign
    n_draws: int
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    notices: tuple[str, ...]
    screen: Screen | None = None

    @property
    def exact(self) -> Bool[Tensor, " component"]:
        """Components that were measured on every prompt; the rows of the others are estimates."""
        return torch.ones(len(self.components), dtype=torch.bool) if self.screen is None else self.screen.exact

    @property
    def drops(self) -> Float[Tensor, "component prompt"]:
        """Fall of the logit difference under ablation, in logits; positive: the component helped (Eq. 4)."""
        return self.clean - self.ablated

    @property
    def values(self) -> Float[Tensor, " component"]:
        """Normalised influence (Eq. 5)."""
        return self._scaled(prompt_means(self.drops))

    def draws(self, weights: BootstrapWeights) -> Float[Tensor, "draw component"]:
        """Influences of bootstrap draws; the scale is drawn along, and so is the error of estimated drops."""
        return self._scaled(self._drawn_drops(weights))

    def _drawn_drops(self, weights: BootstrapWeights) -> Float[Tensor, "draw component"]:
        drawn, errors = weights.means(self.drops), self.drawn_errors(weights.n_draws)
        return drawn if errors is None else drawn + errors

    def drawn_errors(self, n: int) -> Float[Tensor, "draw component"] | None:
        """What estimated mean drops may be off by in each draw, in logits; None where all were measured exactly."""
        return None if self.screen is None else self.screen.redraw(n, seed=int(self.settings["seed"]))

    def _scaled(self, drops: Float[Tensor, "*draw component"]) -> Float[Tensor, "*draw component"]:
        return normalize_influence(drops, normalize=self.normalize, sign=self.sign)

    def weights(self) -> BootstrapWeights | None:
        """The bootstrap weights of this measurement, None when intervals are off or there is one prompt only."""
        return bootstrap_weights(len(self.clean), n_draws=self.n_draws, seed=int(self.settings["seed"]))

    @property
    def baseline(self) -> Baseline:
        """The intact model's logit difference."""
        return measure_baseline(self.clean, self.weights())

    def table(self) -> dict[str, dict[str, Any]]:
        """Drop (logits), influence, their 95% intervals and whether they are exact, by component name."""
        weights, exact = self.weights(), self.exact
        mean_drops = prompt_means(self.drops)
        values = self._scaled(mean_drops)
        rows: dict[str, dict[str, Any]] = {
            str(c): {
                "drop": mean_drops[i].item(),
                "influence": values[i].item(),
                "ci95": None,
                "drop_ci95": None,
                "exact": bool(exact[i]),
            }
            for i, c in enumerate(self.components)
        }
        if weights is not None:
            drawn_drops = self._drawn_drops(weights)
            for name, drawn in (("ci95", self._scaled(drawn_drops)), ("drop_ci95", drawn_drops)):
                low, high = percentile_interval(drawn)
                for i, row in enumerate(rows.values()):
                    row[name] = [low[i].item(), high[i].item()]
        return rows

    def frame(self) -> pd.DataFrame:
        """One row a component, the most influential first."""
        rows = [{"component": name, **row} for name, row in self.table().items()]
        return pd.DataFrame(rows).sort_values("influence", ascending=False, ignore_index=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader must see beside the numbers."""
        warning = self.baseline.warning(self.model.name)
        return (*([warning] if warning else []), *self.notices)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.influence/1`."""
        baseline = self.baseline
        return {
            "schema": SCHEMA,
            "model": asdict(self.model),
            "task": dict(self.task),
            "settings": dict(self.settings),
            **self.made_with,
            "units": {
                "drop": "logits",
                "influence": influence_unit(self.normalize, self.sign),
                "ci95": "of influence",
            },
            "logit_diff": {"mean": baseline.mean, "ci95": baseline.ci95, "accuracy": baseline.accuracy},
            "influence": self.table(),
            "components": [str(c) for c in self.components],
            "screen": None if self.screen is None else self.screen.to_dict(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory (`result.json`, `tensors.safetensors`).

        Raises:
            ResultError: It cannot be written.
        """
        tensors, axes = self.tensors()
        return save_run(Path(path), self.to_dict(), tensors, axes)

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
        """The tensors saved beside the JSON, and the names of their axes."""
        tensors: dict[str, Tensor] = {"clean": self.clean, "ablated": self.ablated}
        axes: dict[str, tuple[str, ...]] = {"clean": ("prompt",), "ablated": ("component", "prompt")}
        if self.screen is not None:
            tensors["screen_deviation"] = self.screen.deviation
            axes["screen_deviation"] = ("component", "audited_prompt")
        return tensors, axes
