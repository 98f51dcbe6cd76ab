"""Every study by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from circuitkit.core.progress import Progress
from circuitkit.experiments import (
    attention,
    cross_task,
    definitions,
    lens_study,
    mlp,
    noise_study,
    patching_study,
    pca_study,
    probe_study,
    qk,
    reliance,
    robustness,
    roles_study,
    sensitivity,
    threshold,
)
from circuitkit.experiments.pair import PairMeasurements
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_options import StudyOptions


@runtime_checkable
class RunStudy(Protocol):
    """What every study is: from measurements of a pair to a result."""

    def __call__(self, pairs: Sequence[PairMeasurements], options: StudyOptions, *, progress: Progress) -> Study:
        """Run it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyKind:
    """A study that can be asked for.

    Attributes:
        title: What it asks, in a line.
        source: Where it is from.
        run: Runs it.
        several_tasks: Whether it takes more than one task.
        takes: The options of `StudyOptions` that it takes.
    """

    title: str
    source: str
    run: RunStudy
    several_tasks: bool = False
    takes: frozenset[str] = frozenset()


STUDIES: dict[str, StudyKind] = {
    "noise": StudyKind(
        title="does alignment fall as the student's activations get noise?",
        source=noise_study.SOURCE,
        run=noise_study.noise_study,
        takes=frozenset({"levels", "repeats", "where", "unit"}),
    ),
    "cross-task": StudyKind(
        title="alignment on several tasks, beside its controls",
        source=cross_task.SOURCE,
        run=cross_task.cross_task_study,
        several_tasks=True,
    ),
    "sensitivity": StudyKind(
        title="does the score depend on normalisation and matching?",
        source=sensitivity.SOURCE,
        run=sensitivity.sensitivity_study,
        several_tasks=True,
    ),
    "threshold": StudyKind(
        title="circuits of both models over the threshold",
        source=threshold.SOURCE,
        run=threshold.threshold_study,
        takes=frozenset({"levels", "search"}),
    ),
    "robustness": StudyKind(
        title="what the loss of one component costs, and what compression adds",
        source=robustness.SOURCE,
        run=robustness.robustness_study,
    ),
    "attention": StudyKind(
        title="attention of matched heads side by side",
        source=attention.SOURCE,
        run=attention.attention_study,
        takes=frozenset({"top"}),
    ),
    "qk": StudyKind(
        title="how queries and keys of matched heads fit between labels",
        source=qk.SOURCE,
        run=qk.qk_study,
        takes=frozenset({"top"}),
    ),
    "mlp": StudyKind(
        title="which student MLP stands for which teacher MLP",
        source=mlp.SOURCE,
        run=mlp.mlp_study,
    ),
    "pca": StudyKind(
        title="principal components of matched MLPs, prompt by prompt",
        source=pca_study.SOURCE,
        run=pca_study.pca_study,
        takes=frozenset({"top"}),
    ),
    "logit-lens": StudyKind(
        title="behind which block the answer appears",
        source=lens_study.SOURCE,
        run=lens_study.lens_study,
    ),
    "reliance": StudyKind(
        title="does the student rely on fewer components, and on each of them more?",
        source=reliance.SOURCE,
        run=reliance.reliance_study,
        several_tasks=True,
    ),
    "definitions": StudyKind(
        title="the score as the paper's text defines it and as its notebooks compute it",
        source=definitions.SOURCE,
        run=definitions.definitions_study,
        several_tasks=True,
    ),
    "roles": StudyKind(
        title="what the components of each role cost, in the model and in its circuit",
        source=roles_study.SOURCE,
        run=roles_study.roles_study,
    ),
    "probes": StudyKind(
        title="what a linear probe can tell, layer by layer",
        source=probe_study.SOURCE,
        run=probe_study.probe_study,
    ),
    "patching": StudyKind(
        title="which places carry the answer",
        source=patching_study.SOURCE,
        run=patching_study.patching_study,
    ),
}
