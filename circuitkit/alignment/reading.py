"""From a saved run back to the parts of an alignment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuitkit.alignment.control import InitialisedControl
from circuitkit.alignment.examples import Example
from circuitkit.alignment.fingerprint_block import from_block
from circuitkit.alignment.inheritance import Inheritance
from circuitkit.alignment.matching import Matching
from circuitkit.alignment.robustness import Robustness
from circuitkit.alignment.scores import AlignmentScores
from circuitkit.alignment.similarity.types import Similarity
from circuitkit.core.component import Component
from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import load_run
from circuitkit.discovery.influence import Influence
from circuitkit.discovery.screen import Screen
from circuitkit.models.info import ModelInfo

_MADE_WITH = ("command", "device", "dtype", "versions")


def read_alignment(path: Path, *, schema: str) -> dict[str, Any]:
    """The fields of an `AlignmentResult`, read from a run directory.

    Raises:
        ResultError: There is no such run, it is broken, or it is another kind of result.
    """
    run = load_run(path, schema=schema)
    try:
        return _fields(run.result, run.tensors)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultError(f"Run {str(path)!r} is broken ({type(error).__name__}: {error}). Make it again.") from error


def _fields(result: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    teacher, student = (_influence(result, tensors, side) for side in ("teacher", "student"))
    return {
        "teacher": teacher,
        "student": student,
        "similarity": Similarity(
            heads=tensors["similarity.heads"],
            mlps=tensors["similarity.mlps"],
            method_heads=result["similarity"]["heads"],
            method_mlps=result["similarity"]["mlps"],
            notices=tuple(result["notices"]["similarity"]),
        ),
        "matching": _matching(result, teacher.components, student.components),
        "scores": AlignmentScores.from_dict(result["alignment"]),
        "control": _control(result["controls"]["initialised_only"]),
        "robustness": Robustness.from_dict(result["robustness"]),
        "inheritance": _inheritance(result["inheritance"]),
        "examples": tuple(
            Example.from_dict(record, tensors[f"example{i}.teacher_patterns"], tensors[f"example{i}.student_patterns"])
            for i, record in enumerate(result["examples"])
        ),
        "task": result["task"],
        "settings": result["settings"],
        "made_with": {key: result[key] for key in _MADE_WITH},
        "warnings": tuple(result["warnings"]),
        "fingerprint": from_block(result, tensors),
    }


def _influence(result: dict[str, Any], tensors: Mapping[str, Tensor], side: str) -> Influence:
    settings = result["settings"]
    shared = ("n_prompts", "ablation", "normalize", "bootstrap", "seed", "batch_size", "data")
    own = {key: settings[key] for key in shared} | {"method": settings.get("method", "exact")}
    return Influence(
        model=ModelInfo(**result[side]),
        task=result["task"],
        components=tuple(Component.parse(name) for name in result["components"][side]),
        clean=tensors[f"{side}.clean"],
        ablated=tensors[f"{side}.ablated"],
        normalize=settings["normalize"],
        sign=settings["influence_sign"],
        n_draws=settings["bootstrap"],
        settings={**own, "sign": settings["influence_sign"]},
        made_with={key: result[key] for key in _MADE_WITH},
        notices=tuple(result["notices"][side]),
        screen=_screen(result, tensors, side),
    )


def _screen(result: dict[str, Any], tensors: Mapping[str, Tensor], side: str) -> Screen | None:
    """None for runs that measured everything, among them those from before there was screening."""
    if result.get("screen") is None:
        return None
    exact = [result["influence"][side][name]["exact"] for name in result["components"][side]]
    return Screen.from_dict(
        result["screen"][side], exact=torch.tensor(exact), deviation=tensors[f"{side}.screen_deviation"]
    )


def _matching(result: dict[str, Any], teacher: Sequence[Component], student: Sequence[Component]) -> Matching:
    number = [{str(c): i for i, c in enumerate(side)} for side in (teacher, student)]
    pairs, left = result["pairs"], result["unmatched"]
    return Matching(
        teacher=torch.tensor([number[0][pair["teacher"]] for pair in pairs]),
        student=torch.tensor([number[1][pair["student"]] for pair in pairs]),
        similarity=torch.tensor([pair["similarity"] for pair in pairs], dtype=torch.float64),
        weight=torch.tensor([pair["weight"] for pair in pairs], dtype=torch.float64),
        unmatched_teacher=tuple(number[0][name] for name in left["teacher"]),
        unmatched_student=tuple(number[1][name] for name in left["student"]),
    )


def _control(record: dict[str, Any] | None) -> InitialisedControl | None:
    return None if record is None else InitialisedControl.from_dict(record)


def _inheritance(record: dict[str, Any] | None) -> Inheritance | None:
    if record is None:
        return None
    layers = {int(student): int(teacher) for student, teacher in record["map"].items()}
    return Inheritance(layers=layers, share=record["share_of_matches_following_copy"])
