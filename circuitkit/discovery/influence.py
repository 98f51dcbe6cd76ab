"""How much every head and MLP of a model contributes to a task."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval, prompt_means
from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import save_run
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.baseline import Baseline, measure_baseline
from circuitkit.discovery.measure import Measurement, Method, parse_method
from circuitkit.discovery.normalize import (
    Normalize,
    Sign,
    influence_unit,
    normalize_influence,
    parse_normalize,
    parse_sign,
)
from circuitkit.discovery.screen import Screen
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.info import ModelInfo
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task

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
        n_draws: Bootstrap draws behind the intervals; 0 means none.
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
        """The bootstrap weights of this measurement, None when intervals are off."""
        if not self.n_draws:
            return None
        return BootstrapWeights(n_prompts=len(self.clean), n_draws=self.n_draws, seed=int(self.settings["seed"]))

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


def influence(
    model: HookedModel,
    task: Task | PromptBatch,
    *,
    n_prompts: int = 384,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    method: Method | str = "exact",
    normalize: Normalize | str = "max",
    sign: Sign | str = "clamp",
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    resume: Path | None = None,
    command: str | None = None,
    stage: str = "sweep",
    progress: Progress = silent,
) -> Influence:
    """Measure every component's influence on a task by ablation (Distilled Circuits, Eqs. 3-5).

    Args:
        model: The model.
        task: A task, or a batch of prompts already built for this model.
        n_prompts: Prompts to draw from the task.
        ablation: What replaces an activation.
        method: `exact` ablates every component on every prompt. `screen` estimates all by one forward and one
            backward pass, checks the estimates on a sample of the prompts and measures exactly what can matter.
        normalize: How drops become influences.
        sign: How components are counted whose ablation helps.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of prompts and bootstrap.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        command: The command line that asked for this, kept with the result.
        stage: Name of this work in progress reports.
        progress: Called as the work advances.

    Raises:
        TaskError: Too few prompts can be used.
        OptionError: An option is unknown, out of range or does not go with the task.
    """
    ablation, seed, method = parse_ablation(ablation), check_seed(seed), parse_method(method)
    normalize, sign = parse_normalize(normalize), parse_sign(sign)
    if bootstrap < 0:
        raise OptionError(f"{bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number.")
    batch = (
        task
        if isinstance(task, PromptBatch)
        else _batch(model, task, n_prompts, seed, ablation=ablation, progress=progress)
    )
    made_with = provenance(device=str(model.device), dtype=str(model.dtype).removeprefix("torch."), command=command)
    job = Measurement(
        model=model,
        batch=batch,
        ablation=ablation,
        batch_size=batch_size,
        resume=resume,
        versions=made_with["versions"],
        stage=stage,
        progress=progress,
    )
    if method == "screen":
        run, screen = job.screened(normalize=normalize, sign=sign, seed=seed)
    else:
        run, screen = job.exact(), None
    return Influence(
        model=model.info,
        task=describe_task(batch),
        components=run.components,
        clean=run.clean,
        ablated=run.ablated,
        normalize=normalize,
        sign=sign,
        n_draws=bootstrap,
        settings={
            "n_prompts": n_prompts,
            "ablation": ablation.value,
            "method": method,
            "normalize": normalize,
            "sign": sign,
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
            "data": task.data if isinstance(task, Task) else None,  # a batch does not know
        },
        made_with=made_with,
        notices=(
            *([screen.notice(len(run.clean))] if screen else []),
            *batch.notices,
            *_about_precision(model),
        ),
        screen=screen,
    )


def _about_precision(model: HookedModel) -> tuple[str, ...]:
    if model.dtype == torch.float32:
        return ()
    dtype = str(model.dtype).removeprefix("torch.")
    return (f"{model.info.name} ran in {dtype}: drops of a few tenths of a logit may be rounding; --dtype float32.",)


def _batch(
    model: HookedModel, task: Task, n_prompts: int, seed: int, *, ablation: Ablation, progress: Progress
) -> PromptBatch:
    need = ablation.needs_corrupted
    return build_batch(task, model, n_prompts=n_prompts, seed=seed, need_corrupted=need, progress=progress)
