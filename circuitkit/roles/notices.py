"""What a reader must know about what could not be tested, and why."""

from collections import defaultdict
from collections.abc import Mapping

from circuitkit.roles.judge_role import RoleEvidence
from circuitkit.roles.significance import LEAST_PROMPTS
from circuitkit.tasks.batch import PromptBatch


def about_causal(batch: PromptBatch, *, clear: bool) -> tuple[str, ...]:
    """Why nothing was patched, if nothing was.

    Args:
        batch: The prompts.
        clear: Whether the model clearly does the task.
    """
    if batch.corrupted is None:
        why = f"task {batch.task.name!r} has no corrupted prompts to patch from"
    elif not batch.positional:
        n, even = len(batch.pairs), batch.n_even
        why = f"corrupted prompts of task {batch.task.name!r} have other lengths, so that no pattern fits"
        if even < LEAST_PROMPTS:
            why += f" ({even} of {n} have their clean prompt's number of tokens; {LEAST_PROMPTS} are needed)"
    elif not clear:
        why = "effects are judged by the model's logit difference, which is not clearly above 0"
    else:
        return ()
    return (f"No role is claimed: no causal evidence can be had, because {why}.",)


def about_prompts(evidence: Mapping[str, RoleEvidence]) -> tuple[str, ...]:
    """Roles whose prompts are too few for any claim."""
    few = [f"{name} ({found.n_prompts})" for name, found in evidence.items() if found.n_prompts < LEAST_PROMPTS]
    if not few:
        return ()
    return (f"Fewer than {LEAST_PROMPTS} prompts, and so no claim: {', '.join(few)}. Raise --n-prompts.",)


def about_absent(absent: Mapping[str, str], *, labelled: bool) -> tuple[str, ...]:
    """Roles that these prompts have no places for, by what they need.

    Args:
        absent: What each of them needs.
        labelled: Whether the prompts have labels but for the answer position.
    """
    by_need: dict[str, list[str]] = defaultdict(list)
    for name, need in absent.items():
        by_need[need].append(name)
    found = [f"Not tested: {', '.join(names)}; prompts need {need}." for need, names in by_need.items()]
    if found and not labelled:
        found.append(
            "These prompts have no labels. In a .jsonl file a row gives them in characters: "
            '"labels": {"S1": [0, 4], "S2": [20, 24]}; the same names in every row.'
        )
    return tuple(found)
