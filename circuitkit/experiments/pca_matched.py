"""PCA of every teacher MLP beside its match, and by what prompts are told apart."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.pca_statistics import canonical_with, shuffled_variance
from circuitkit.experiments.study_table import Cell
from circuitkit.probes.pca import MlpPca, Principal, mlp_outputs, pca_of_outputs, principal_directions
from circuitkit.tasks.batch import PromptBatch
from circuitkit.tasks.prompt import END

N_DIRECTIONS = 3
MOST_GROUPS = 8
"""Colours that can be told apart."""
OTHERS = "others"
_WHO = ("teacher", "student")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """By what prompts are told apart.

    Attributes:
        name: `answer` or `template`.
        groups: The group of each prompt.
        shown: Groups that have a colour of their own; all others share one.
    """

    name: str
    groups: tuple[str, ...]
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedPca:
    """A teacher MLP and its match.

    Attributes:
        pca: Their principal components.
        outputs: What they write at END of every prompt.
        influence: The teacher MLP's influence.
        canonical: First canonical correlation of the teacher MLP's plane with that of every student MLP.
        cosines: Absolute cosine of its directions with those of every student MLP of the same number; None where
            widths differ.
        shuffled: Shares of variance along the teacher's and the student's directions when coordinates are shuffled.
    """

    pca: MlpPca
    outputs: tuple[Float[Tensor, "prompt teacher_d"], Float[Tensor, "prompt student_d"]]
    influence: float
    canonical: Float[Tensor, " student_mlp"]
    cosines: Float[Tensor, "student_mlp direction"] | None
    shuffled: tuple[Float[Tensor, " direction"], Float[Tensor, " direction"]]

    @property
    def names(self) -> dict[str, Cell]:
        """The two MLPs, as the first cells of a row."""
        teacher, student = self.pca.layers
        return {"teacher": f"MLP{teacher}", "student": f"MLP{student}"}

    @property
    def sides(self) -> tuple[tuple[str, Float[Tensor, "prompt d"], Float[Tensor, "prompt direction"]], ...]:
        """Whose, outputs and coordinates."""
        return tuple(zip(_WHO, self.outputs, (self.pca.teacher, self.pca.student), strict=True))


def matched_pca(pair: PairMeasurements, *, progress: Progress = silent) -> list[MatchedPca]:
    """PCA of every teacher MLP and the student MLP that is most like it, the teacher's most influential first.

    Raises:
        OptionError: There are fewer than two prompts.
    """
    n_prompts = len(pair.batches[0].pairs)
    if n_prompts < 2:
        raise OptionError("One prompt does not vary; experiment pca needs 2 or more. Raise --n-prompts.")
    teacher, student = (_outputs(pair, side, progress) for side in (0, 1))
    n_directions = min(N_DIRECTIONS, n_prompts, teacher.shape[2], student.shape[2])
    best = pair.similarity().mlps.argmax(1).tolist()
    influence = pair.teacher.values[-len(best) :]
    answers = tuple(one.correct for one in pair.batches[0].pairs)
    students = [principal_directions(x, n_directions) for x in student]
    planes = torch.stack([one.coordinates[:, :2] for one in students])
    seed = pair.settings.seed
    chance = {j: shuffled_variance(student[j], n_directions, seed=seed).mean(0) for j in set(best)}
    found: list[MatchedPca] = []
    for layer in influence.argsort(descending=True, stable=True).tolist():
        layers, outputs = (layer, best[layer]), (teacher[layer], student[best[layer]])
        pca = pca_of_outputs(outputs, layers=layers, label=END, answers=answers, n_directions=n_directions)
        found.append(
            MatchedPca(
                pca=pca,
                outputs=outputs,
                influence=float(influence[layer]),
                canonical=canonical_with(pca.teacher[:, :2], planes),
                cosines=_cosines(principal_directions(teacher[layer], n_directions), students),
                shuffled=(shuffled_variance(teacher[layer], n_directions, seed=seed).mean(0), chance[best[layer]]),
            )
        )
    return found


def _cosines(one: Principal, others: Sequence[Principal]) -> Float[Tensor, "student_mlp direction"] | None:
    if one.directions.shape != others[0].directions.shape:
        return None
    return torch.stack([(one.directions * other.directions).sum(1).abs() for other in others])


def _outputs(pair: PairMeasurements, side: int, progress: Progress) -> Float[Tensor, "layer prompt d_model"]:
    model = (pair.teacher_model, pair.student_model)[side]

    def told(stage: str, done: int, total: int) -> None:
        progress(f"{_WHO[side]} {stage}", done, total)

    layers = range(model.info.n_layers)
    return mlp_outputs(model, pair.batches[side], layers=layers, batch_size=pair.batch_size, progress=told)


def grouping(batch: PromptBatch) -> Grouping:
    """Prompts by their answers, or by their templates where only those are few enough to be told apart."""
    answers = tuple(pair.correct.strip() for pair in batch.pairs)
    templates = tuple(pair.template for pair in batch.pairs)
    few = [len(set(names)) <= MOST_GROUPS for names in (answers, templates)]
    name, groups = ("template", templates) if few == [False, True] and len(set(templates)) > 1 else ("answer", answers)
    return Grouping(name=name, groups=groups, shown=_shown(groups))


def _shown(groups: Sequence[str]) -> tuple[str, ...]:
    """The commonest groups, numbers in their order; one fewer where the rest shares a colour."""
    counts = Counter(groups)
    most = MOST_GROUPS if len(counts) <= MOST_GROUPS else MOST_GROUPS - 1
    names = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names))
