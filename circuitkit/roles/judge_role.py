"""One role and all heads of a model: attention and what is written in all, then patching where both hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.roles.attention_to import RoleAttention, role_attention
from circuitkit.roles.bench import Bench
from circuitkit.roles.catalogue import Circuit, Role
from circuitkit.roles.evidence import Evidence, attention_evidence, effect_evidence, intervals
from circuitkit.roles.places import Places
from circuitkit.roles.read_patching import ov_effects, qk_effects
from circuitkit.roles.significance import all_hold, any_holds
from circuitkit.roles.writes import indirect_evidence, write_evidence

CONTROLS = 8
"""Random other heads whose patching is the baseline of a role's effects."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleEvidence:
    """All evidence for one role.

    Attributes:
        role: The role.
        n_prompts: Prompts that have its places.
        rule: Which places these are, where the role has several rules for them; else None.
        attention: What heads read; None where the role says nothing about it.
        random: What they read in random text; None where the role is about the task.
        causal: What patching their pattern (qk) or values (ov) does, where the role says that it matters.
        write: What they write; None where the role says nothing about it.
        p: The p-value that not all of it holds. For heads that fail by attention or writes, which are not patched, a
            lower bound.
        screen: The same of all that is measured in every head: attention, random text, and most writes.
        follow: The same of what patching shows; 0 where the role asks for nothing of it, 1 in heads not patched.
        per_prompt: The values behind the scores, by name.
    """

    role: Role
    n_prompts: int
    rule: str | None
    attention: Evidence | None
    random: Evidence | None
    causal: Mapping[Circuit, Evidence]
    write: Evidence | None
    p: Float[Tensor, " head"]
    screen: Float[Tensor, " head"]
    follow: Float[Tensor, " head"]
    per_prompt: Mapping[str, Float[Tensor, "some_head prompt"]]

    def row(self, head: int) -> dict[str, Any]:
        """Score, p-value, interval and evidence of one head."""
        parts = {
            "attention": self.attention,
            "random": self.random,
            "qk": self.causal.get("qk"),
            "ov": self.causal.get("ov"),
            "write": self.write,
        }
        rows = {name: None if part is None else part.row(head) for name, part in parts.items()}
        lead = rows["attention"] or rows["write"]
        assert lead is not None  # every role tests one of them on all heads
        return {"score": lead["score"], "p": self.p[head].item(), "ci95": lead["ci95"], "evidence": rows}


def judge_role(bench: Bench, role: Role, where: Places, attention: RoleAttention) -> RoleEvidence:
    """Gather the evidence for one role.

    Heads whose attention or writes fail already, at a p-value above alpha, cannot be claimed and are not patched.

    Args:
        bench: Model, prompts and options.
        role: The role.
        where: Where it reads, in the clean prompts; at least one prompt has places.
        attention: The attention to its places, on its side.

    Raises:
        OptionError: Memory is short for one row.
    """
    looks = None
    if role.attention:
        looks = attention_evidence(
            attention,
            where.defined,
            rather_than=_rival(bench, role),
            floor=bench.floors.attention,
            interval=bench.interval(where),
        )
    random, writes = _in_random_text(bench, role), write_evidence(bench, role, where)
    screen = all_hold(*(part.p for part in (looks, random, writes) if part is not None))
    follow = torch.ones_like(screen)
    causal: dict[Circuit, Evidence] = {}
    per_prompt = {"attention": attention.mass} if role.attention else {}
    tried = (screen <= bench.floors.alpha).nonzero()[:, 0].tolist()
    if tried and bench.causal:
        for circuit in role.causal:
            causal[circuit], per_prompt[circuit] = _patched(bench, role, where, circuit, tried)
        shown = [any_holds(*(part.p for part in causal.values()))] if causal else []
        if role.write == "indirect":
            writes = indirect_evidence(bench, role, where, per_prompt["ov"], tried)
            shown.append(writes.p)
        follow[tried] = all_hold(*shown)[tried] if shown else 0.0
    return RoleEvidence(
        role=role,
        n_prompts=int(where.defined.sum()),
        rule=where.rule,
        attention=looks,
        random=random,
        causal=causal,
        write=writes,
        p=torch.where(screen <= bench.floors.alpha, all_hold(screen, follow), screen) if bench.causal else follow,
        screen=screen,
        follow=follow,
        per_prompt=per_prompt,
    )


def _rival(bench: Bench, role: Role) -> RoleAttention | None:
    """Attention to what a role says that its queries read less; None where it names nothing, or prompts have none."""
    places = None if role.rather_than is None else role.rather_than(bench.model, bench.batch, role.side)
    if places is None or not bool(places.defined.any()):
        return None
    return role_attention(bench.model, bench.batch, {role.name: places}, side=role.side)[role.name]


def _in_random_text(bench: Bench, role: Role) -> Evidence | None:
    """Attention of all heads in random text, for roles that are about tokens."""
    if role.anywhere is None or bench.random is None:
        return None
    found = bench.random[role.name]
    n = found.mass.shape[1]
    interval = intervals(n, n_draws=bench.n_draws, seed=bench.seed)
    every = torch.ones(n, dtype=torch.bool)
    return attention_evidence(found, every, floor=bench.floors.attention, interval=interval)


def _patched(
    bench: Bench, role: Role, where: Places, circuit: Circuit, tried: Sequence[int]
) -> tuple[Evidence, Float[Tensor, "head prompt"]]:
    """Effects of the heads that may have the role, beside those of a few that cannot."""
    others = [head for head in range(len(bench.heads)) if head not in set(tried)]
    shuffled = torch.randperm(len(others), generator=torch.Generator().manual_seed(bench.seed))
    controls = sorted(others[i] for i in shuffled[:CONTROLS].tolist())
    run = [*tried, *controls]
    patch = qk_effects if circuit == "qk" else ov_effects
    names = [str(bench.heads[head]) for head in run]
    effects = patch(
        bench.model,
        bench.batch,
        where,
        [bench.heads[head] for head in run],
        batch_size=bench.batch_size,
        store=bench.store(role.name, circuit, names),
        progress=lambda stage, done, total: bench.progress(f"{role.name}: {circuit}", done, total),
    )
    defined = where.defined
    evidence = effect_evidence(
        effects[: len(tried), defined],
        effects[len(tried) :, defined].mean(0) if controls else None,
        bench.clean[defined],
        tried,
        n_heads=len(bench.heads),
        floor=bench.floors.effect,
        helps=role.helps,
        interval=bench.interval(where),
    )
    return evidence, torch.zeros(len(bench.heads), effects.shape[1]).index_copy(0, torch.tensor(run), effects)
