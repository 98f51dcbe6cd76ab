"""Trained students on disk, by digest of everything that decides what they are."""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.core.digest import digest
from circuitkit.core.provenance import provenance
from circuitkit.core.run_directory import ShardStore
from circuitkit.experiments.battery.exact import Made, Relation
from circuitkit.experiments.battery.recipe import BatteryRecipe
from circuitkit.experiments.battery.student import StudentSpec
from circuitkit.models.hooked_model import HookedModel

_RELATION = "circuitkit.relation"


class StudentStore:
    """Trained students of one teacher under one recipe.

    What decides a student is the teacher's weights, the course and the other numbers of the recipe, its key, the
    seed, the task files and the versions; none of it is asked for twice.

    Args:
        folder: Where they are kept; None to keep nothing.
        teacher: The teacher.
        recipe: The recipe.
        tasks: Name of each task -> its hash.
    """

    def __init__(
        self, folder: Path | None, teacher: HookedModel, recipe: BatteryRecipe, tasks: Mapping[str, str]
    ) -> None:
        self._folder = folder
        numbers = asdict(recipe)
        self._courses = numbers.pop("courses")
        self._about = {
            "teacher": teacher.info.weights_sha256,
            "recipe": numbers,
            "tasks": dict(tasks),
            "versions": provenance(device="cpu", dtype="float32")["versions"],
        }

    def load(self, spec: StudentSpec, seed: int, blank: PreTrainedModel) -> Made | None:
        """The student of a seed, or None if it was never finished.

        Args:
            spec: Which student.
            seed: Its seed.
            blank: A model of its configuration, which is not changed.

        Raises:
            ResultError: Its file is broken.
        """
        store = self._store(spec, seed)
        tensors = None if store is None else store.load("student")
        if tensors is None:
            return None
        raw, relation = copy.deepcopy(blank), tensors.pop(_RELATION, None)
        with torch.no_grad():
            for name, weight in raw.named_parameters():
                weight.copy_(tensors[name])
        return Made(raw=raw, relation=None if relation is None else _read_relation(relation))

    def save(self, spec: StudentSpec, seed: int, made: Made) -> None:
        """Keep a student.

        Raises:
            ResultError: It cannot be written.
        """
        store = self._store(spec, seed)
        if store is None:
            return
        tensors = {name: weight.detach() for name, weight in made.raw.named_parameters()}
        if made.relation is not None:
            tensors[_RELATION] = _relation_tensor(made.relation)
        store.save("student", tensors)

    def _store(self, spec: StudentSpec, seed: int) -> ShardStore | None:
        if self._folder is None:
            return None
        about = {**self._about, "student": spec.key, "seed": seed, "course": self._courses[spec.key]}
        return ShardStore(self._folder, f"{spec.key}-{seed}-{digest(about)}")


def _relation_tensor(relation: Relation) -> Tensor:
    """Rows of student layer and head, teacher layer and head; -1 for an MLP, -2 for no teacher component."""
    rows = [
        [s.layer, -1 if s.head is None else s.head, *found]
        for s, sources in relation.items()
        for found in ([[t.layer, -1 if t.head is None else t.head] for t in sources] or [[-2, -2]])
    ]
    return torch.tensor(rows, dtype=torch.int64)


def _read_relation(rows: Tensor) -> Relation:
    found: Relation = {}
    for student, s_head, teacher, t_head in cast(list[list[int]], rows.tolist()):
        component = Component(student, None if s_head < 0 else s_head)
        source = () if teacher < 0 else (Component(teacher, None if t_head < 0 else t_head),)
        found[component] = (*found.get(component, ()), *source)
    return found
