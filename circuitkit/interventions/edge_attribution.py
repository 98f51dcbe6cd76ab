"""First-order effects of every edge: what its sender would change, times the gradient where its receiver reads."""

from collections.abc import Callable

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.edge import EdgeSpace
from circuitkit.interventions.clean_run import CleanRun
from circuitkit.interventions.differentiable_run import DifferentiableRun, RunFromStage, without_weight_gradients
from circuitkit.interventions.edge_gradients import Measure, before_stage, receiver_gradients
from circuitkit.interventions.replacement import Values
from circuitkit.interventions.rows import Rows
from circuitkit.models.hooked_model import HookedModel

Scores = Float[Tensor, "row receiver sender"]


class EdgeAttribution:
    """Some prompts, and what senders write on corrupted edges.

    A score is the sum over positions and features of (clean write - replacement) times the gradient of the measure
    with respect to what the receiver reads: to first order, the fall of the measure when this edge alone carries the
    replacement (Syed, Rager & Conmy 2023, arXiv 2310.10348). In post-LN models a receiver's stream is no sum of
    writes, and the gradient is pulled back to the write through the norms between, taken as linear around the run.

    The scores out of a sender sum to the estimate of ablating it, for every one of the three gradients.

    Args:
        model: The model; its raw module must be in evaluation mode.
        rows: The prompts, run together.
        clean: Their clean run.
        values: The replacements.
        measure: What is differentiated.
        report: Called with the share of the work that is done.
    """

    def __init__(
        self,
        model: HookedModel,
        rows: Rows,
        clean: CleanRun,
        values: Values,
        measure: Measure,
        *,
        report: Callable[[float], None] = lambda share: None,
    ) -> None:
        self.model, self.clean, self.values = model, clean, values
        self.measure, self.report = measure, report
        self.space = EdgeSpace(model.info.n_layers, model.info.n_heads)
        self.runner = RunFromStage(model, rows)
        self._changes = self._writes()

    def at_clean(self) -> Scores:
        """With the gradients of the clean run (EAP)."""
        total = self._nothing()
        self._add(total, self.runner.run(0, self.clean.hidden[0]))
        self.report(1.0)
        return total

    def over_inputs(self, steps: int) -> Scores:
        """With the mean gradients of runs whose embedding is k / steps of the way to the clean one, k = 1 ... steps.

        Hanna, Pezzelle & Belinkov 2024, arXiv 2403.17806 (their package takes k = 0 ... steps - 1). With many steps
        the scores out of the embedding sum to the fall of the measure when the embedding is replaced for everyone.

        Args:
            steps: Number of runs.
        """
        total = self._nothing()
        for step in range(1, steps + 1):
            self._add(total, self._between(0, step / steps))
            self.report(step / steps)
        return total / steps

    def over_activations(self, steps: int) -> Scores:
        """The same, but for each stage of senders by themselves: the embedding, the heads of a block, an MLP.

        Their writes alone are between replacement and clean while the gradients behind them are taken, for the edges
        out of them. With many steps the scores out of each stage sum to the fall of the measure when it is replaced;
        that is why a run does not count for the edges of other stages, as it does in the package `eap`.

        Args:
            steps: Number of runs of each stage.
        """
        total, n = self._nothing(), self.runner.last_stage + 1
        for stage in range(n):
            for step in range(1, steps + 1):
                self._add(total, self._between(stage, step / steps), only=stage)
            left = (n - 1 - stage) * (n - stage) / (n * (n + 1))  # a run costs what lies behind its stage
            self.report(1 - left)
        return total / steps

    @torch.no_grad()
    def _writes(self) -> Float[Tensor, "row sender pos d_model"]:
        """By how much what every sender writes differs from its replacement."""
        clean, home = self.clean, self.model.device
        wide = torch.promote_types(self.model.dtype, torch.float32)
        changes = [(clean.hidden[0] - self.values.embed.to(clean.hidden[0].device)).to(home, wide)[:, None]]
        for layer in range(self.model.info.n_layers):
            z, mlp = clean.z[layer], clean.mlp[layer]
            change = (z - self.values.z(layer).to(z.device)).to(wide)
            w_o = self.model.w_o(layer).to(z.device, wide)
            changes.append(einsum(change, w_o, "row pos head d_head, head d_head d -> row head pos d").to(home))
            changes.append((mlp - self.values.mlp(layer).to(mlp.device)).to(home, wide)[:, None])
        return torch.cat(changes, 1)

    def _between(self, stage: int, share: float) -> DifferentiableRun:
        """A run with the writes of one stage that share of the way from replacement to clean."""
        layer = (stage - 1) // 2
        if stage == 0:
            return self.runner.run(0, _part_way(self.values.embed, self.clean.hidden[0], share))
        with torch.no_grad(), without_weight_gradients(self.model.raw):
            before = self.clean.hidden[layer]
            if stage % 2:
                z = _part_way(self.values.z(layer), self.clean.z[layer], share)
                write = self.runner.projected(stage, z)
            else:
                before = self.runner.add(stage - 1, before, self.runner.projected(stage - 1, self.clean.z[layer]))
                write = _part_way(self.values.mlp(layer), self.clean.mlp[layer], share)
            stream = self.runner.add(stage, before, write.clone())
        run = self.runner.run(stage, stream)
        run.streams[stage - 1], run.writes[stage] = before, write
        return run

    def _nothing(self) -> Scores:
        shape = (len(self._changes), len(self.space.receivers), len(self.space.senders))
        return torch.zeros(shape, device=self._changes.device, dtype=self._changes.dtype)

    def _add(self, total: Scores, run: DifferentiableRun, *, only: int | None = None) -> None:
        """Add the scores that one run gives to the edges out of all senders, or out of those of one stage."""
        for found in receiver_gradients(self.runner, run, self.measure):
            gradients = found.gradients
            first, last = (0, found.stage) if only is None else (only, only)
            if self.model.family.pre_norm:  # the stream is a sum: every write has the gradient of the whole
                self._add_products(total, found.rows, gradients, first, last)
                continue
            for stage in range(found.stage, first - 1, -1):
                gradients = before_stage(self.runner, run, stage, gradients) if stage else gradients
                if stage <= last:
                    self._add_products(total, found.rows, gradients, stage, stage)

    def _add_products(
        self,
        total: Scores,
        receivers: slice,
        gradients: Float[Tensor, "some row pos d_model"],
        first: int,
        last: int,
    ) -> None:
        """For the senders of the stages from `first` to `last`."""
        senders = slice(self._senders(first).start, self._senders(last).stop)
        changes = self._changes[:, senders]
        products = einsum(
            gradients.to(changes.device, changes.dtype), changes, "receiver row pos d, row s pos d -> row receiver s"
        )
        total[:, receivers, senders] += products

    def _senders(self, stage: int) -> slice:
        """Which senders write in a stage."""
        if stage == 0:
            return slice(0, 1)
        n_heads = self.model.info.n_heads
        first = 1 + (stage - 1) // 2 * (n_heads + 1)
        return slice(first, first + n_heads) if stage % 2 else slice(first + n_heads, first + n_heads + 1)


def _part_way(
    replaced: Float[Tensor, "#row #pos *rest"], clean: Float[Tensor, "row pos *rest"], share: float
) -> Float[Tensor, "row pos *rest"]:
    return torch.lerp(replaced.to(clean.device).expand_as(clean), clean, share)
