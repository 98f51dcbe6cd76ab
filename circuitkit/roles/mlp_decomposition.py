"""Where the logit difference comes from, part by part and token by token, and what each MLP changes about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from circuitkit.core.bootstrap import BootstrapWeights, percentile_interval, prompt_means
from circuitkit.core.component import Component, all_components
from circuitkit.core.progress import Progress, silent
from circuitkit.interventions.clean_run import CleanRun, run_clean
from circuitkit.interventions.rows import Rows, shards, take
from circuitkit.models.hooked_model import HookedModel
from circuitkit.roles.final_lens import NOT_ADDITIVE, FinalLens
from circuitkit.roles.head_reads import head_reads
from circuitkit.tasks.batch import PromptBatch

EMBEDDING, ATTENTION_BIAS, FINAL_BIAS = "embed", "attention bias", "final bias"
ROWS_AT_A_TIME = 32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DirectParts:
    """The logit difference as a sum over all that writes to the residual stream at the answer position.

    Attributes:
        parts: Embedding, every head and MLP in the model's order, the attentions' output biases together, and the
            biases of final norm and unembedding.
        values: Share of each part in logits; they sum to the logit difference.
        by_token: Of every head's share, what comes from each token that it reads; sums to the head's share.
    """

    parts: tuple[str, ...]
    values: Float[Tensor, "part prompt"]
    by_token: Float[Tensor, "head prompt pos"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decomposition:
    """What parts of a model give to the logit difference.

    Attributes:
        direct: The sum; None in post-LN models, where there is none.
        notice: Why there is none; None if there is.
        lens_before: Logit difference read off the stream before each MLP, in logits (logit lens).
        lens_after: The same behind the MLP.
        rank_before: Rank of the correct answer among all tokens there, from 1.
        rank_after: The same behind the MLP.
    """

    direct: DirectParts | None
    notice: str | None
    lens_before: Float[Tensor, "layer prompt"]
    lens_after: Float[Tensor, "layer prompt"]
    rank_before: Int[Tensor, "layer prompt"]
    rank_after: Int[Tensor, "layer prompt"]

    def records(self, *, n_draws: int, seed: int) -> dict[str, dict[str, Any]]:
        """Plain rows by MLP: means over prompts with their 95 % intervals (logits) and median ranks.

        Args:
            n_draws: Bootstrap draws over prompts; 0 leaves the intervals out (None).
            seed: Seed of the draws.
        """
        mlps = [str(Component(layer)) for layer in range(len(self.lens_before))]
        direct = None
        if self.direct is not None:
            direct = self.direct.values[[self.direct.parts.index(name) for name in mlps]]
        means = {"direct": direct, "lens_before": self.lens_before, "lens_after": self.lens_after}
        rows: dict[str, dict[str, Any]] = {name: {} for name in mlps}
        for key, values in means.items():
            found = [None] * len(mlps) if values is None else _with_intervals(values, n_draws, seed)
            for name, record in zip(mlps, found, strict=True):
                rows[name][key] = record
        for key, ranks in (("rank_before", self.rank_before), ("rank_after", self.rank_after)):
            for name, median in zip(mlps, ranks.double().quantile(0.5, dim=1).tolist(), strict=True):
                rows[name][key] = median
        return rows


@torch.no_grad()
def decompose(model: HookedModel, batch: PromptBatch, *, progress: Progress = silent) -> Decomposition:
    """Take the logit difference of the clean prompts apart.

    Pre-LN: every write times the direction of the logit difference behind the final norm, whose scale is that of the
    run (Elhage et al. 2021; Distilled Circuits, section 3). Logit lens: the stream before and behind each MLP through
    the model's own end (nostalgebraist 2020); in post-LN models these are the streams behind the norms.

    Args:
        model: The model.
        batch: Prompts.
        progress: Called as prompts are done.
    """
    n_layers, n_prompts = model.info.n_layers, len(batch.pairs)
    lens = torch.zeros(2, n_layers, n_prompts)
    ranks = torch.zeros(2, n_layers, n_prompts, dtype=torch.long)
    names = (
        EMBEDDING,
        *(str(component) for component in all_components(n_layers, model.info.n_heads)),
        ATTENTION_BIAS,
        FINAL_BIAS,
    )
    values = torch.zeros(len(names), n_prompts)
    by_token = torch.zeros(n_layers * model.info.n_heads if model.family.pre_norm else 0, *batch.clean.ids.shape)
    done = 0
    for rows in shards(batch, ROWS_AT_A_TIME):
        taken = take(batch.clean, rows, model)
        clean, answers = run_clean(model, taken), torch.stack([batch.correct_ids[rows], batch.incorrect_ids[rows]], 1)
        lens[:, :, rows], ranks[:, :, rows] = _lens(model, taken, clean, answers)
        if model.family.pre_norm:
            values[:, rows], by_token[:, rows, : taken.ids.shape[1]] = _direct(model, taken, clean, answers)
        done += len(rows)
        progress("decomposition", done, n_prompts)
    return Decomposition(
        direct=DirectParts(parts=names, values=values, by_token=by_token) if model.family.pre_norm else None,
        notice=None if model.family.pre_norm else NOT_ADDITIVE,
        lens_before=lens[0],
        lens_after=lens[1],
        rank_before=ranks[0],
        rank_after=ranks[1],
    )


def _lens(
    model: HookedModel, rows: Rows, clean: CleanRun, answers: Int[Tensor, "row 2"]
) -> tuple[Float[Tensor, "2 layer row"], Int[Tensor, "2 layer row"]]:
    """Logit differences and ranks before and behind every MLP."""
    family, differences, ranks = model.family, list[Tensor](), list[Tensor]()
    for layer, block in enumerate(family.blocks(model.raw)):
        stream, z = (_at_answer(rows, x[layer]).unsqueeze(1) for x in (clean.hidden, clean.z))
        mid = family.mid(block, stream, family.out_proj(block)(z.flatten(2)))
        after = family.close(block, mid, _at_answer(rows, clean.mlp[layer]).unsqueeze(1).clone())
        for x in (mid, after):
            logits = family.unembed(model.raw, x[:, 0]).float().cpu()
            of_answers = logits.gather(1, answers)
            differences.append(of_answers[:, 0] - of_answers[:, 1])
            ranks.append(1 + (logits > of_answers[:, :1]).sum(1))
    return _paired(differences), _paired(ranks)


def _direct(
    model: HookedModel, rows: Rows, clean: CleanRun, answers: Int[Tensor, "row 2"]
) -> tuple[Float[Tensor, "part row"], Float[Tensor, "head row key"]]:
    """Shares of all parts, and those of heads by token."""
    lens, answers = FinalLens(model, _at_answer(rows, clean.resid)), answers.to(model.device)
    direction = lens.direction(answers[:, 0], answers[:, 1])

    def share(write: Tensor) -> Tensor:
        return einsum(write.to(direction), direction, "row d, row d -> row")

    by_token, mlps, bias = list[Tensor](), list[Tensor](), torch.zeros(len(answers), device=direction.device)
    for layer, block in enumerate(model.family.blocks(model.raw)):
        found = head_reads(model, rows, layer, clean.hidden[layer])
        at_answer = found.pattern[torch.arange(len(answers)), :, rows.answer_pos.to(found.pattern.device)]
        wanted = einsum(
            model.w_o(layer).to(found.values), direction.to(found.values), "head d_head d, row d -> row head d_head"
        )
        each = einsum(found.values, wanted, "row key head d, row head d -> head row key")
        by_token.append((each * at_answer.transpose(0, 1)).cpu())
        mlps.append(share(_at_answer(rows, clean.mlp[layer])))
        out_bias = model.family.out_bias(block)
        if out_bias is not None:
            bias += share(out_bias.expand(len(answers), -1))
    tokens = torch.cat(by_token)
    constant = lens.constant(answers[:, 0], answers[:, 1])
    ends = (share(_at_answer(rows, clean.hidden[0])), *mlps, bias, constant)
    embed, *others = (x.cpu() for x in ends)
    return torch.stack([embed, *tokens.sum(-1), *others]), tokens


def _at_answer(rows: Rows, x: Float[Tensor, "row pos *rest"]) -> Float[Tensor, "row *rest"]:
    return x[torch.arange(len(x), device=x.device), rows.answer_pos.to(x.device)]


def _paired(before_and_after: Sequence[Tensor]) -> Tensor:
    """Alternating values, [layer before, layer after, ...], as [2, layer, row]."""
    return torch.stack([torch.stack(list(before_and_after[start::2])) for start in (0, 1)])


def _with_intervals(values: Float[Tensor, "row prompt"], n_draws: int, seed: int) -> list[dict[str, Any]]:
    means = prompt_means(values).tolist()
    if not n_draws:
        return [{"mean": mean, "ci95": None} for mean in means]
    draws = BootstrapWeights(n_prompts=values.shape[1], n_draws=n_draws, seed=seed).means(values)
    low, high = (bound.tolist() for bound in percentile_interval(draws))
    return [{"mean": m, "ci95": [lo, hi]} for m, lo, hi in zip(means, low, high, strict=True)]
