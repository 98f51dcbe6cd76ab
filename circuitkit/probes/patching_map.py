"""What activation patching found: how much of the answer each place carries; how it is summarised and saved."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, bootstrap_weights, percentile_interval
from circuitkit.core.run_directory import save_run
from circuitkit.discovery.baseline import Baseline, measure_baseline
from circuitkit.models.info import ModelInfo
from circuitkit.probes.logit_lens import LogitLens
from circuitkit.probes.places import ALL

SCHEMA = "circuitkit.patching/1"
Direction = Literal["denoise", "noise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRow:
    """What is patched: `block3`, `embed`, `MLP3`, `L3H1`, or a part of a head such as `L3H1.q`.

    Attributes:
        name: Its name.
        part: `block`, `mlp`, `head`, `q`, `k`, `v` or `pattern`.
        layer: Its block; -1 is what the first block reads.
    """

    name: str
    part: str
    layer: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchingMap:
    """Logit differences of prompts into which activations of their partners were patched.

    Attributes:
        model: The model.
        task: Name, hash and prompt counts of the task.
        rows: What was patched.
        positions: Where; the last one is all tokens.
        defined: The prompts that have each position.
        direction: `denoise` patches clean activations into corrupted prompts, `noise` the reverse.
        clean: Logit difference of the clean prompts, in logits.
        corrupted: The same of their corrupted partners, of the clean prompts' answers.
        patched: The same of every patched run.
        lens: Logit lens on the clean prompts.
        n_draws: Bootstrap draws behind the intervals; 0 means none.
        settings: Every option of the measurement.
        made_with: Versions, device, dtype and command.
        notices: Plain facts about the prompts that a reader must see.
    """

    model: ModelInfo
    task: Mapping[str, Any]
    rows: tuple[PatchRow, ...]
    positions: tuple[str, ...]
    defined: Bool[Tensor, "position prompt"]
    direction: Direction
    clean: Float[Tensor, " prompt"]
    corrupted: Float[Tensor, " prompt"]
    patched: Float[Tensor, "row position prompt"]
    lens: LogitLens
    n_draws: int
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    notices: tuple[str, ...]

    @property
    def effects(self) -> Float[Tensor, "row position prompt"]:
        """What patching does, in logits: what it restores (denoise) or what it takes away (noise)."""
        return self.patched - self.corrupted if self.direction == "denoise" else self.clean - self.patched

    @property
    def mean_effects(self) -> Float[Tensor, "row position"]:
        """Mean effect over the prompts that have the position (float64), in logits."""
        counts = self.defined.double()
        return (self.effects.double() * counts).sum(-1) / counts.sum(-1)

    @property
    def gaps(self) -> Float[Tensor, " position"]:
        """What there is to restore or to take away: clean minus corrupted, over the same prompts (float64)."""
        counts = self.defined.double()
        return (counts * (self.clean - self.corrupted).double()).sum(-1) / counts.sum(-1)

    @property
    def shares(self) -> Float[Tensor, "row position"] | None:
        """Effects as shares of the gap: 0 changes nothing, 1 everything; None where there is no clear gap.

        Not a number at a position the prompts of which have no clear gap among themselves.
        """
        if not self.gap.clear:
            return None
        differences = self.clean - self.corrupted
        clear = [measure_baseline(differences[has], None).clear for has in self.defined]
        return torch.where(torch.tensor(clear), self.mean_effects / self.gaps, torch.nan)

    @property
    def layer_ratios(self) -> Float[Tensor, "row position"]:
        """Effects over their mean in the layer: the rows of one part in one block, at the single positions.

        "x layer mean" of Distilled Circuits, App. J. Not a number where that mean is not clearly above 0: effects that
        cancel make ratios of any size.
        """
        found, effects = torch.full_like(self.mean_effects, torch.nan), self.mean_effects
        for key in {(row.part, row.layer) for row in self.rows}:
            same = torch.tensor([(row.part, row.layer) == key for row in self.rows])
            mean = effects[same][:, :-1].mean()
            if mean > 0 and self._mean_of_each_prompt(same).clear:
                found[same] = effects[same] / mean
        return found

    def _mean_of_each_prompt(self, rows: Bool[Tensor, " row"]) -> Baseline:
        """Mean effect of some rows over the single positions of each prompt, in logits, over the prompts."""
        counts = self.defined[:-1].double()
        totals = (self.effects[rows][:, :-1].double().mean(0) * counts).sum(0)
        return measure_baseline(totals / counts.sum(0).clamp(min=1), None)

    @property
    def gap(self) -> Baseline:
        """Whether corruption clearly lowers the logit difference; its mean, in logits."""
        return measure_baseline(self.clean - self.corrupted, self.weights())

    @property
    def peaks(self) -> dict[str, str]:
        """By row, the single position of the largest mean effect."""
        best = self.mean_effects[:, :-1].argmax(1).tolist()
        return {row.name: self.positions[i] for row, i in zip(self.rows, best, strict=True)}

    def weights(self) -> BootstrapWeights | None:
        """The bootstrap weights of this measurement, None when intervals are off or there is one prompt only."""
        return bootstrap_weights(len(self.clean), n_draws=self.n_draws, seed=int(self.settings["seed"]))

    def table(self) -> dict[str, dict[str, dict[str, Any]]]:
        """By row and position: effect (logits), share of the gap, their 95% intervals, and times the layer's mean."""
        effects, shares, ratios = self.mean_effects, self.shares, self.layer_ratios
        bounds, share_bounds = self._intervals()
        return {
            row.name: {
                name: {
                    "effect": effects[i, j].item(),
                    "ci95": _bounds(bounds, i, j),
                    "share": None if shares is None or shares[i, j].isnan() else shares[i, j].item(),
                    "share_ci95": None if shares is None or shares[i, j].isnan() else _bounds(share_bounds, i, j),
                    "layer_ratio": None if ratios[i, j].isnan() else ratios[i, j].item(),
                }
                for j, name in enumerate(self.positions)
            }
            for i, row in enumerate(self.rows)
        }

    def _intervals(self) -> tuple[Float[Tensor, "end row position"], Float[Tensor, "end row position"]]:
        """Intervals of effects and of shares; not a number where there are none.

        Of shares there are none where some draw has no gap above 0: its shares mean nothing.
        """
        found = torch.full((2, 2, len(self.rows), len(self.positions)), torch.nan, dtype=torch.float64)
        weights = self.weights()
        if weights is not None:
            for j, has in enumerate(self.defined.double()):
                counts = weights.means(has)
                if bool((counts == 0).any()):  # a draw without any such prompt
                    continue
                drawn = weights.means(self.effects[:, j] * has) / counts[:, None]
                gap = weights.means((self.clean - self.corrupted) * has) / counts
                found[0, :, :, j] = torch.stack(percentile_interval(drawn))
                if bool((gap > 0).all()):
                    found[1, :, :, j] = torch.stack(percentile_interval(drawn / gap[:, None]))
        return found[0], found[1]

    def _without_shares(self) -> list[str]:
        """Positions that have no share though the map has."""
        shares = self.shares
        return (
            []
            if shares is None
            else [n for n, lost in zip(self.positions, shares[0].isnan().tolist(), strict=True) if lost]
        )

    def frame(self) -> pd.DataFrame:
        """One row a place, the largest effects first."""
        rows = [
            {"row": row, "position": position, **values}
            for row, places in self.table().items()
            for position, values in places.items()
        ]
        return pd.DataFrame(rows).sort_values("effect", ascending=False, ignore_index=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader must see beside the numbers."""
        able = measure_baseline(self.clean, None).warning(self.model.name)
        found = [able] if able else []
        if len(self.clean) == 1:
            found.append(
                f"One prompt cannot show whether corruption lowers the logit difference (here by {self.gap.mean:.2f}); "
                "effects are in logits only."
            )
        elif not self.gap.clear:
            found.append(
                f"Corruption does not clearly lower the logit difference (by {self.gap.mean:.2f} on average), so that "
                "there is nothing to take shares of; effects are in logits only."
            )
        elif none := self._without_shares():
            named = ", ".join(none[:3]) + (", …" if len(none) > 3 else "")
            found.append(
                f"At {len(none)} of {len(self.positions)} positions ({named}) the prompts that "
                "have them show no clear gap of their own; effects there are in logits only."
            )
        return (*found, *self.notices)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.patching/1`."""
        clean, corrupted, gap = (
            measure_baseline(x, self.weights()) for x in (self.clean, self.corrupted, self.clean - self.corrupted)
        )
        return {
            "schema": SCHEMA,
            "model": asdict(self.model),
            "task": dict(self.task),
            "settings": dict(self.settings),
            **self.made_with,
            "units": {
                "effect": "logits",
                "share": "of clean minus corrupted logit difference",
                "layer_ratio": f"effect over its mean in the layer, without {ALL}",
            },
            "direction": self.direction,
            "logit_diff": {"mean": clean.mean, "ci95": clean.ci95, "accuracy": clean.accuracy},
            "corrupted_logit_diff": {"mean": corrupted.mean, "ci95": corrupted.ci95, "accuracy": corrupted.accuracy},
            "gap": {"mean": gap.mean, "ci95": gap.ci95, "clear": gap.clear},
            "rows": [asdict(row) for row in self.rows],
            "positions": [
                {"name": name, "n_prompts": int(has.sum())}
                for name, has in zip(self.positions, self.defined, strict=True)
            ],
            "effects": self.table(),
            "peaks": self.peaks,
            "lens": self.lens.to_dict(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory (`result.json`, `tensors.safetensors`).

        Raises:
            ResultError: It cannot be written.
        """
        axes = {
            "clean": ("prompt",),
            "corrupted": ("prompt",),
            "patched": ("row", "position", "prompt"),
            "defined": ("position", "prompt"),
        }
        return save_run(Path(path), self.to_dict(), {name: getattr(self, name) for name in axes}, axes)


def _bounds(bounds: Float[Tensor, "end row position"], i: int, j: int) -> list[float] | None:
    low, high = bounds[:, i, j].tolist()
    return None if isnan(low) else [low, high]
