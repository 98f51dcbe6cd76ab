"""Whether heads write what their role says."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from circuitkit.core.bootstrap import prompt_means
from circuitkit.roles.attention_to import role_attention
from circuitkit.roles.bench import Bench
from circuitkit.roles.catalogue import Role
from circuitkit.roles.evidence import Evidence, share_evidence
from circuitkit.roles.head_writes import key_copies
from circuitkit.roles.permuted import TokenHits
from circuitkit.roles.places import Places, places_from_keys
from circuitkit.roles.read_patching import direct_ov_effects
from circuitkit.roles.significance import p_above_zero

DIRECT_SHARE = 0.5
"""Most of an effect that may go by the direct path if a head works through later components."""


def write_evidence(bench: Bench, role: Role, where: Places) -> Evidence | None:
    """What all heads write, as far as it needs no patching; None where the role says nothing of the kind.

    Args:
        bench: Model, prompts and options.
        role: The role.
        where: Where it reads in the clean prompts.
    """
    match role.write:
        case None | "indirect":
            return None
        case "answer":
            found, chance = bench.written.correct.found, _chance(bench.written.correct)
        case "copied-answer":
            found, chance = _copied_answer(bench, where)
        case "copies" | "suppresses":
            found, chance = _of_what_is_read(bench, where, suppressed=role.write == "suppresses")
    return share_evidence(found, chance, where.defined, floor=bench.floors.write, interval=bench.interval(where))


def indirect_evidence(
    bench: Bench, role: Role, where: Places, effects: Float[Tensor, "head prompt"], tried: Sequence[int]
) -> Evidence:
    """What the same patch does by the direct path alone, which must be clearly less than half of its whole effect.

    Args:
        bench: Model, prompts and options.
        role: The role.
        where: Where it reads.
        effects: Falls of the logit difference with the heads' values patched there.
        tried: Numbers of the heads that were patched.
    """
    heads = [bench.heads[number] for number in tried]
    direct, defined = torch.zeros_like(effects), where.defined
    direct[list(tried)] = direct_ov_effects(
        bench.model,
        bench.batch,
        where,
        heads,
        batch_size=bench.batch_size,
        store=bench.store(role.name, "direct", [str(head) for head in heads]),
        progress=lambda stage, done, total: bench.progress(f"{role.name}: direct", done, total),
    )
    direct, effects = direct[:, defined], effects[:, defined]
    measured: Bool[Tensor, " head"] = torch.zeros(len(direct), dtype=torch.bool)
    measured[list(tried)] = True
    return Evidence(
        score=prompt_means(direct),
        p=torch.where(measured, p_above_zero(DIRECT_SHARE * effects - direct), 1.0),
        ci95=bench.interval(where)(direct),
        baseline=prompt_means(effects),
        measured=measured,
    )


def _of_what_is_read(
    bench: Bench, where: Places, *, suppressed: bool
) -> tuple[Float[Tensor, "head prompt"], Float[Tensor, " head"]]:
    """Share of the attention on the role's keys that goes to tokens which the head copies, or suppresses.

    A head that may read several labels is asked about those that it reads: each key counts by its attention.
    """
    single = _one_key_each(where)
    read = role_attention(bench.model, bench.batch, {str(i): one for i, one in enumerate(single)})
    total = torch.stack([one.mass for one in read.values()]).sum(0).clamp(min=1e-9)
    found, chance = torch.zeros_like(total), torch.zeros(len(total), dtype=torch.float64)
    for one, attention in zip(single, read.values(), strict=True):
        hits = key_copies(bench.model, bench.batch, one, bench.heads, seed=bench.seed)
        kind = hits.suppresses if suppressed else hits.copies
        share = attention.mass / total
        found += share * kind.found
        chance += prompt_means(share[:, where.defined]) * _chance(kind)
    return found.clamp(max=1), chance.clamp(max=1)


def _one_key_each(where: Places) -> list[Places]:
    """The first key of every query, the second, and so on."""
    number = where.keys.cumsum(2) * where.keys
    return [places_from_keys(number == i) for i in range(1, int(number.max()) + 1)]


def _copied_answer(bench: Bench, where: Places) -> tuple[Float[Tensor, "head prompt"], Float[Tensor, " head"]]:
    """The correct answer where the role's keys hold it, else the incorrect one."""
    tokens = bench.batch.clean.ids[:, None, :] == bench.batch.correct_ids[:, None, None]
    has_correct = (tokens & where.keys).any(2).any(1)
    correct, incorrect = bench.written.correct, bench.written.incorrect
    share = has_correct[where.defined].double().mean()
    chance = share * _chance(correct) + (1 - share) * _chance(incorrect)
    return torch.where(has_correct, correct.found, incorrect.found), chance


def _chance(hits: TokenHits) -> Float[Tensor, " head"]:
    """Mean rate with other prompts' tokens, the rate itself among the draws, so that chance is never quite 0."""
    return (hits.null.double().sum(0) + hits.rate) / (len(hits.null) + 1)
