"""Roles of every component of one model on one task, with all the evidence; how it prints and saves."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.run_directory import save_run
from circuitkit.discovery.influence_result import Influence
from circuitkit.roles.examples import RoleExample
from circuitkit.roles.judge_role import RoleEvidence
from circuitkit.roles.significance import adjusted, r_values

SCHEMA = "circuitkit.roles/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoleResult:
    """Which component of a model has which role in a task, and why that is claimed.

    Attributes:
        influence: Influence of every component on the same prompts.
        evidence: Evidence for every role that these prompts have places for.
        absent: Roles without places, and what they need.
        alpha: Share of false claims that is accepted among all.
        mlps: MLP to what it adds to the logit difference and what the logit lens shows around it.
        examples: Prompts with the attention of the heads that have a role.
        settings: Every option.
        made_with: Versions, device, dtype and command.
        notices: Plain facts that a reader must see.
    """

    influence: Influence
    evidence: Mapping[str, RoleEvidence]
    absent: Mapping[str, str]
    alpha: float
    mlps: Mapping[str, Mapping[str, Any]]
    examples: Sequence[RoleExample]
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]
    notices: Sequence[str]

    @property
    def r(self) -> Float[Tensor, "role head"]:
        """False discovery rates of claims, over all heads and roles together (`significance.r_values`)."""
        return rates(self.evidence, alpha=self.alpha)

    @property
    def q(self) -> Float[Tensor, "role head"]:
        """P-values of all heads and roles together, adjusted as if all had been patched (Benjamini and Hochberg 1995).

        No claim depends on them: that of heads which were never patched costs those that were.
        """
        return adjusted(_all(self.evidence, "p").flatten()).reshape(self.r.shape)

    @property
    def roles(self) -> dict[str, list[str]]:
        """The roles that each component is claimed to have; an empty list is "unknown"."""
        return claimed([str(c) for c in self.influence.components], self.evidence, alpha=self.alpha)

    @property
    def implied(self) -> dict[str, list[str]]:
        """The roles that each component has as a part of one that it is listed with."""
        names, listed = [str(c) for c in self.influence.components], self.roles
        holding = _holding(names, self.evidence, alpha=self.alpha)
        return {name: [role for role in holding[name] if role not in listed[name]] for name in names}

    @property
    def scores(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Component -> role -> score, p, r, q, claimed, ci95 and evidence; MLPs are tested for no role.

        `effect` of a claim: whether what was patched "helps" or "hurts" the task; else None. `implied_by`: roles that
        the component is listed with in place of this one, which is a part of them.
        """
        names, r, q = [str(c) for c in self.influence.components], self.r, self.q
        holding = _holding(names, self.evidence, alpha=self.alpha)
        found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in names}
        for number, (role, evidence) in enumerate(self.evidence.items()):
            for head in range(q.shape[1]):
                row = evidence.row(head)
                found[names[head]][role] = {
                    "score": row["score"],
                    "p": row["p"],
                    "r": r[number, head].item(),
                    "q": q[number, head].item(),
                    "claimed": bool(r[number, head] <= self.alpha),
                    "effect": _effect(row["evidence"]) if role in holding[names[head]] else None,
                    "implied_by": _implied_by(role, self.evidence, holding[names[head]]),
                    "ci95": row["ci95"],
                    "evidence": row["evidence"],
                }
        return found

    def frame(self) -> pd.DataFrame:
        """One row a component: its roles ("unknown" without any) and its influence, the most influential first."""
        table, roles = self.influence.table(), self.roles
        rows = [
            {
                "component": name,
                "roles": ", ".join(roles[name]) or "unknown",
                "influence": row["influence"],
                "ci95": row["ci95"],
                "drop": row["drop"],
            }
            for name, row in table.items()
        ]
        return pd.DataFrame(rows).sort_values("influence", ascending=False, ignore_index=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything that a reader must see beside the roles."""
        return (*self.influence.warnings, *self.notices)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.roles/1`."""
        baseline = self.influence.baseline
        table = self.influence.table()
        return {
            "schema": SCHEMA,
            "model": asdict(self.influence.model),
            "task": dict(self.influence.task),
            "settings": dict(self.settings),
            **self.made_with,
            "units": {
                "drop": "logits",
                "attention": "share of a head's attention",
                "qk": "logits",
                "ov": "logits",
                "write": "share of prompts; of indirect roles: effect by the direct path alone, in logits",
                "r": "false discovery rate",
                "q": "false discovery rate had all been patched",
            },
            "logit_diff": {"mean": baseline.mean, "ci95": baseline.ci95, "accuracy": baseline.accuracy},
            "definitions": {name: _definition(found) for name, found in self.evidence.items()},
            "absent": dict(self.absent),
            "scores": self.scores,
            "roles": self.roles,
            "influence": table,
            "components": [str(c) for c in self.influence.components],
            "mlps": {name: dict(row) for name, row in self.mlps.items()},
            "examples": [example.to_dict() for example in self.examples],
            "warnings": list(self.warnings),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory (`result.json`, `tensors.safetensors`).

        Raises:
            ResultError: It cannot be written.
        """
        return save_run(Path(path), self.to_dict(), *self.tensors())

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
        """The tensors saved beside the JSON, and the names of their axes."""
        tensors, axes = self.influence.tensors()
        for name, found in self.evidence.items():
            for kind, values in found.per_prompt.items():
                tensors[f"{name}.{kind}"], axes[f"{name}.{kind}"] = values, ("head", "prompt")
        for number, example in enumerate(self.examples):
            tensors[f"example{number}.patterns"] = example.patterns
            axes[f"example{number}.patterns"] = ("head", "query", "key")
        return tensors, axes


def rates(evidence: Mapping[str, RoleEvidence], *, alpha: float) -> Float[Tensor, "role head"]:
    """False discovery rates over all heads and roles together: what all heads were screened for, then patching.

    Args:
        evidence: Evidence for every role.
        alpha: Share of false claims that is accepted; heads with p-values up to it were patched.
    """
    screen, follow = _all(evidence, "screen"), _all(evidence, "follow")
    return r_values(screen.flatten(), follow.flatten(), alpha=alpha).reshape(screen.shape)


def _all(evidence: Mapping[str, RoleEvidence], which: Literal["p", "screen", "follow"]) -> Float[Tensor, "role head"]:
    return torch.stack([getattr(found, which) for found in evidence.values()]) if evidence else torch.zeros(0, 0)


def claimed(names: Sequence[str], evidence: Mapping[str, RoleEvidence], *, alpha: float) -> dict[str, list[str]]:
    """Component -> the roles whose false discovery rate is alpha at most, but those that another of them implies.

    Args:
        names: All components, heads first.
        evidence: Evidence for every role.
        alpha: Share of false claims that is accepted.
    """
    holding = _holding(names, evidence, alpha=alpha)
    return {name: [r for r in held if not _implied_by(r, evidence, held)] for name, held in holding.items()}


def _holding(names: Sequence[str], evidence: Mapping[str, RoleEvidence], *, alpha: float) -> dict[str, list[str]]:
    r = rates(evidence, alpha=alpha)
    found: dict[str, list[str]] = {name: [] for name in names}
    for number, role in enumerate(evidence):
        for name, holds in zip(names, (r[number] <= alpha).tolist(), strict=False):  # no MLP has any evidence
            if holds:
                found[name].append(role)
    return found


def _implied_by(role: str, evidence: Mapping[str, RoleEvidence], held: Sequence[str]) -> list[str]:
    """Those of a head's roles of which a role is a part."""
    return [name for name in evidence[role].role.implied_by if name in held] if role in held else []


def _effect(evidence: Mapping[str, Any]) -> Literal["helps", "hurts"]:
    """What the patched circuit does, by the one that is surer: whether the logit difference falls without it."""
    patched = [evidence[circuit] for circuit in ("qk", "ov") if evidence[circuit] is not None]
    return "helps" if min(patched, key=lambda part: part["p"])["score"] > 0 else "hurts"


def _definition(found: RoleEvidence) -> dict[str, Any]:
    role = found.role
    return {
        "title": role.title,
        "source": role.source,
        "n_prompts": found.n_prompts,
        "side": role.side,
        "rule": found.rule,
        "attention": role.attention,
        "causal": list(role.causal),
        "helps": role.helps,
        "write": role.write,
        "implied_by": list(role.implied_by),
    }
