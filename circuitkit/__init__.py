"""circuitkit: did the student learn the teacher's mechanism, or only its answers?

The names below are imported on first use, so that `import circuitkit` and the command line stay fast.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from circuitkit.core.version import __version__

if TYPE_CHECKING:
    from circuitkit.alignment.align import align as align
    from circuitkit.alignment.result import AlignmentResult as AlignmentResult
    from circuitkit.core.component import Component as Component
    from circuitkit.core.errors import CircuitKitError as CircuitKitError
    from circuitkit.core.run_directory import load_run as load_run
    from circuitkit.discovery.circuit import Circuit as Circuit
    from circuitkit.discovery.discover import discover as discover
    from circuitkit.discovery.influence import Influence as Influence
    from circuitkit.discovery.influence import influence as influence
    from circuitkit.discovery.path_patch import path_patch as path_patch
    from circuitkit.experiments.compare import ModelComparison as ModelComparison
    from circuitkit.experiments.compare import compare as compare
    from circuitkit.experiments.experiment import experiment as experiment
    from circuitkit.experiments.reproduce.reproduce import reproduce as reproduce
    from circuitkit.experiments.study import Study as Study
    from circuitkit.experiments.study_options import StudyOptions as StudyOptions
    from circuitkit.interventions.engine import run_interventions as run_interventions
    from circuitkit.interventions.intervention import Intervention as Intervention
    from circuitkit.interventions.intervention import at_each_position as at_each_position
    from circuitkit.interventions.intervention import replace_components as replace_components
    from circuitkit.interventions.noise import noise as noise
    from circuitkit.models.hooked_model import HookedModel as HookedModel
    from circuitkit.models.loading import load_model as load_model
    from circuitkit.models.loading import wrap_model as wrap_model
    from circuitkit.probes.patching import activation_patching as activation_patching
    from circuitkit.probes.probe import probe as probe
    from circuitkit.probes.result import ProbeResult as ProbeResult
    from circuitkit.reports.html import report as report
    from circuitkit.roles.assign import find_roles as find_roles
    from circuitkit.roles.result import RoleResult as RoleResult
    from circuitkit.tasks.batch import build_batch as build_batch
    from circuitkit.tasks.loading import load_task as load_task
    from circuitkit.tasks.task import Task as Task

_HOMES = {
    "align": "circuitkit.alignment.align",
    "AlignmentResult": "circuitkit.alignment.result",
    "Component": "circuitkit.core.component",
    "CircuitKitError": "circuitkit.core.errors",
    "load_run": "circuitkit.core.run_directory",
    "Circuit": "circuitkit.discovery.circuit",
    "discover": "circuitkit.discovery.discover",
    "Influence": "circuitkit.discovery.influence",
    "influence": "circuitkit.discovery.influence",
    "path_patch": "circuitkit.discovery.path_patch",
    "compare": "circuitkit.experiments.compare",
    "ModelComparison": "circuitkit.experiments.compare",
    "experiment": "circuitkit.experiments.experiment",
    "reproduce": "circuitkit.experiments.reproduce.reproduce",
    "Study": "circuitkit.experiments.study",
    "StudyOptions": "circuitkit.experiments.study_options",
    "run_interventions": "circuitkit.interventions.engine",
    "Intervention": "circuitkit.interventions.intervention",
    "at_each_position": "circuitkit.interventions.intervention",
    "replace_components": "circuitkit.interventions.intervention",
    "noise": "circuitkit.interventions.noise",
    "HookedModel": "circuitkit.models.hooked_model",
    "load_model": "circuitkit.models.loading",
    "wrap_model": "circuitkit.models.loading",
    "probe": "circuitkit.probes.probe",
    "ProbeResult": "circuitkit.probes.result",
    "activation_patching": "circuitkit.probes.patching",
    "report": "circuitkit.reports.html",
    "find_roles": "circuitkit.roles.assign",
    "RoleResult": "circuitkit.roles.result",
    "build_batch": "circuitkit.tasks.batch",
    "load_task": "circuitkit.tasks.loading",
    "Task": "circuitkit.tasks.task",
}

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the type is stated above, under TYPE_CHECKING
    if name not in _HOMES:
        raise AttributeError(f"module 'circuitkit' has no attribute {name!r}")
    _show_results_in_notebooks()
    return getattr(import_module(_HOMES[name]), name)


def _show_results_in_notebooks() -> None:
    """Tell a running notebook how results look; the drawing itself is imported when one is shown."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        import_module("circuitkit.reports.jupyter").enable(shell)


def __dir__() -> list[str]:
    return sorted(__all__)
