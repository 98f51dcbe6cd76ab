"""The plain sentences at the head of a role page."""

from circuitkit.reports.numerals import fixed, share, with_interval
from circuitkit.reports.role_record import RoleRecord
from circuitkit.reports.verdict import Verdict, short_names

_NAMED = 6
NO_CLAIM = "No role is claimed: "
"""How the warning begins that says why nothing could be tested."""


def role_verdict(record: RoleRecord) -> Verdict:
    """Headline, numbers and what they cannot tell."""
    (model,), task = short_names(record.model.name), record.task.name
    heads = [name for name in record.roles if not name.startswith("MLP")]
    known = [name for name in heads if record.roles[name]]
    ranked = sorted(known, key=lambda name: -record.influence[name].influence)
    if known:
        named = "; ".join(f"{name} {' and '.join(record.roles_of(name))}" for name in ranked[:_NAMED])
        more = f", and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
        headline = f"On {task}, {len(known)} of {len(heads)} heads of {model} have a role: {named}{more}."
    else:
        headline = (
            f"On {task}, no head of {model} can be shown to have any of the {len(record.definitions)} tested roles."
        )
    diff = record.logit_diff
    support = [
        f"Its logit difference is {with_interval(diff.mean, diff.ci95)} logits over {record.task.n_prompts} prompts.",
        *_tests(record, len(heads), claims=bool(known)),
    ]
    total = sum(max(0.0, effect.drop) for effect in record.influence.values())
    unknown = sum(max(0.0, record.influence[name].drop) for name, held in record.roles.items() if not held)
    if total > 0:
        support.append(
            f"Components without a role, MLPs among them, carry {share(unknown / total)} of all drops "
            f"({fixed(unknown)} of {fixed(total)} logits)."
        )
    return Verdict(
        headline=headline,
        support=tuple(support),
        caution="A role says that a head reads in certain places, that this matters to the answer and, where the role "
        "claims it, what the head writes. It does not say that the head does nothing else, and a head without a role "
        "may do something that nobody has named. Effects depend on what the corrupted prompts change.",
    )


def _tests(record: RoleRecord, n_heads: int, *, claims: bool) -> list[str]:
    """What was tested, and how sure the claims are, or why there could be none."""
    untestable = [warning for warning in record.warnings if warning.startswith(NO_CLAIM)]
    if untestable and not claims:
        return untestable
    tests, alpha = n_heads * len(record.definitions), share(float(record.settings.get("alpha") or 0))
    sure = f"of all claims in these {tests} tests, {alpha} at most are expected to be false"
    none = f"in none of these {tests} tests is the evidence enough to claim it with {alpha} false claims at most"
    return [f"{n_heads} heads were tested for {len(record.definitions)} roles each; {sure if claims else none}."]
