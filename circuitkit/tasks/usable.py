"""The prompts of a task that a model can read, and those that it cannot, before they are put into tensors."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from circuitkit.core.errors import TaskError
from circuitkit.core.progress import Progress, silent
from circuitkit.tasks.kinds import CORRUPTED, KindReader, ReadKind, settle_kinds, wanted_kinds
from circuitkit.tasks.pair_reading import PairReader
from circuitkit.tasks.prompt import PromptPair
from circuitkit.tasks.reader_model import ReadsPrompts
from circuitkit.tasks.reading import PromptReader, Reading, Unusable
from circuitkit.tasks.stages import PROMPTS
from circuitkit.tasks.task import Task

PROMPTS_PER_REPORT = 64
MANY_REPEATED = 0.1
UNEVEN = "corrupted prompt of another number of tokens"
"""Why prompts are left out of what needs both sides of a pair to be equally long."""
UNEVEN_NAMED = 5


_NONE: Mapping[str, Reading] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A prompt that could not be used: its number in the task, its text, and why."""

    index: int
    prompt: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A prompt that can be used: its number in the task, its text, and all sides as tokens."""

    index: int
    pair: PromptPair
    clean: Reading
    corrupted: Reading | None
    counterfactuals: Mapping[str, Reading] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsablePrompts:
    """What one model can read of a task.

    Attributes:
        task: The task.
        kept: The prompts that can be used, at least one.
        dropped: The others.
        n_asked: How many were asked for; a finite task may have fewer.
        kinds: The counterfactual kinds that all kept prompts have; empty unless they were asked for.
        about_kinds: What a user must know about them.
    """

    task: Task
    kept: tuple[Kept, ...]
    dropped: tuple[Dropped, ...]
    n_asked: int
    kinds: tuple[str, ...] = ()
    about_kinds: tuple[str, ...] = ()

    def only(self, numbers: Collection[int], *, dropped: Sequence[Dropped]) -> "UsablePrompts":
        """The prompts of some numbers, with what is to be said about all others."""
        chosen = set(numbers)
        return replace(self, kept=tuple(row for row in self.kept if row.index in chosen), dropped=tuple(dropped))

    @property
    def even(self) -> frozenset[int]:
        """Numbers of the prompts that are as long as their corrupted partner, in tokens."""
        both = ((row.index, row.clean, row.corrupted) for row in self.kept)
        return frozenset(
            index for index, clean, corrupted in both if corrupted is not None and len(corrupted.ids) == len(clean.ids)
        )

    @property
    def notices(self) -> tuple[str, ...]:
        """What a user must know about how many prompts there are and what became of the others."""
        found: list[str] = []
        total = len(self.kept) + len(self.dropped)
        if total < self.n_asked:
            found.append(f"{self.n_asked} prompts were asked for and the task has {total}.")
        found += _about_dropped([drop for drop in self.dropped if drop.reason != UNEVEN], total)
        found += _about_uneven([drop for drop in self.dropped if drop.reason == UNEVEN], total)
        different = {(row.pair.clean, row.pair.correct, row.pair.incorrect) for row in self.kept}
        repeated = len(self.kept) - len(different)
        if repeated > MANY_REPEATED * len(self.kept):
            found.append(
                f"{repeated} of {len(self.kept)} prompts repeat another: the task has not so many different ones."
            )
        unknown = sum(row.clean.n_unknown > 0 for row in self.kept)
        if unknown:
            found.append(f"{unknown} of {len(self.kept)} prompts hold words that the tokenizer does not know.")
        return (*found, *self.about_kinds)


def without_uneven(*sides: UsablePrompts, least: int) -> tuple[UsablePrompts, ...]:
    """The prompts that are as long as their corrupted partners, the others listed as dropped.

    Args:
        sides: The same prompts as one or more models read them; what is uneven to one is left out for all.
        least: How many must remain. If fewer do, or the task's positions mean nothing, prompts stay as they are.
    """
    numbers = frozenset.intersection(*(side.even for side in sides))
    if len(numbers) < least or not all(side.task.positional for side in sides):
        return sides
    found: list[UsablePrompts] = []
    for side in sides:
        uneven = [
            Dropped(index=row.index, prompt=row.pair.clean, reason=UNEVEN)
            for row in side.kept
            if row.index not in numbers
        ]
        dropped = sorted((*side.dropped, *uneven), key=lambda drop: drop.index)
        found.append(side.only(numbers, dropped=dropped))
    return tuple(found)


def _about_dropped(dropped: Sequence[Dropped], total: int) -> list[str]:
    if not dropped:
        return []
    reason, count = Counter(drop.reason for drop in dropped).most_common(1)[0]
    return [f"{len(dropped)} of {total} prompts were left out; the commonest reason ({count}): {reason}."]


def _about_uneven(dropped: Sequence[Dropped], total: int) -> list[str]:
    if not dropped:
        return []
    named = ", ".join(f"{drop.index} {drop.prompt[:40]!r}" for drop in dropped[:UNEVEN_NAMED])
    more = ", ..." if len(dropped) > UNEVEN_NAMED else ""
    return [f"{len(dropped)} of {total} prompts were left out, each with a {UNEVEN}, which cannot be patched into it: "
            f"{named}{more}."]  # fmt: skip


def usable_prompts(
    task: Task,
    model: ReadsPrompts,
    *,
    n_prompts: int,
    seed: int,
    need_corrupted: bool,
    counterfactuals: bool | Sequence[str] = False,
    stage: str = PROMPTS,
    progress: Progress = silent,
) -> UsablePrompts:
    """Draw prompts from a task and tokenise them for a model; for the arguments see `build_batch`.

    Raises:
        TaskError: Fewer than half of the prompts can be used, n_prompts is not positive, or counterfactuals are asked
            for that the task does not have.
        OptionError: A counterfactual kind is unknown.
        ModelError: The tokenizer cannot say where its tokens are in the text, or lacks a mask token.
    """
    kinds = wanted_kinds(task, counterfactuals)
    prompts = PromptReader(
        tokenizer=model.tokenizer,
        is_causal=model.is_causal,
        max_length=model.info.max_length,
        vocab_size=model.info.vocab_size,
    )
    reader = PairReader(prompts=prompts, need_corrupted=need_corrupted, equal=task.positional and not task.written)
    partners = need_corrupted or CORRUPTED in kinds
    pairs = task.draw(n_prompts, seed=seed, fits=reader.fits if partners else None, alike=prompts.alike)
    total = task.size(n_prompts, seed=seed)
    kind_reader = KindReader(prompts=prompts, task=task, kinds=kinds, seed=seed)
    kept: list[Kept] = []
    dropped: list[Dropped] = []
    changed: dict[int, Mapping[str, ReadKind | Unusable]] = {}
    for index, (number, pair) in enumerate(zip(task.source.numbers(n_prompts, seed=seed), pairs, strict=True)):
        found = reader.read(pair)
        if isinstance(found, Unusable):
            dropped.append(Dropped(index=index, prompt=pair.clean, reason=found.reason))
        else:
            kept.append(Kept(index=index, pair=pair, clean=found[0], corrupted=found[1]))
            if kinds:
                changed[index] = kind_reader.read(number, pair, found[0])
        if (index + 1) % PROMPTS_PER_REPORT == 0 or index + 1 == total:
            progress(stage, index + 1, total)
    _check_enough(task, len(kept), dropped)
    found = UsablePrompts(task=task, kept=tuple(kept), dropped=tuple(dropped), n_asked=n_prompts)
    return _with_kinds(found, changed, kinds) if kinds else found


def _with_kinds(
    prompts: UsablePrompts, changed: Mapping[int, Mapping[str, ReadKind | Unusable]], kinds: Sequence[str]
) -> UsablePrompts:
    """The prompts that have every kind which at least half of them have; the others are left out."""
    settled = settle_kinds(prompts.task, list(changed.values()), kinds)
    kept: list[Kept] = []
    dropped = list(prompts.dropped)
    for row in prompts.kept:
        own = {kind: changed[row.index][kind] for kind in settled.kinds}
        reasons = [f"counterfactual {kind!r}: {f.reason}" for kind, f in own.items() if isinstance(f, Unusable)]
        if reasons:
            dropped.append(Dropped(index=row.index, prompt=row.pair.clean, reason=reasons[0]))
            continue
        good = {kind: found for kind, found in own.items() if not isinstance(found, Unusable)}
        pair = replace(row.pair, counterfactuals={kind: found.text for kind, found in good.items()})
        readings = {kind: found.reading for kind, found in good.items()}
        kept.append(replace(row, pair=pair, counterfactuals=readings))
    dropped.sort(key=lambda drop: drop.index)
    _check_enough(prompts.task, len(kept), dropped)
    return replace(prompts, kept=tuple(kept), dropped=tuple(dropped), kinds=settled.kinds, about_kinds=settled.notices)


def _check_enough(task: Task, n_kept: int, dropped: Sequence[Dropped]) -> None:
    total = n_kept + len(dropped)
    if 2 * n_kept >= total:
        return
    reason, count = Counter(drop.reason for drop in dropped).most_common(1)[0]
    raise TaskError(
        f"Only {n_kept} of {total} prompts of task {task.name!r} can be used with this model; wanted at least half. "
        f"The commonest reason ({count} prompts): {reason}. Use another task or change its prompts."
    )
