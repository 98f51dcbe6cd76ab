"""Make the students of a teacher, or take those that were trained before from disk."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from transformers import PreTrainedModel

from circuitkit.core.component import Component
from circuitkit.core.errors import OptionError
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.influence import influence
from circuitkit.experiments.battery.corpus import Lessons, lessons
from circuitkit.experiments.battery.cues import CUED, cue_lessons
from circuitkit.experiments.battery.exact import (
    Made,
    Relation,
    identity,
    permuted_heads,
    permuted_neurons,
    rotated_heads,
    same_components,
)
from circuitkit.experiments.battery.kept import StudentStore
from circuitkit.experiments.battery.layout import family_of, sizes_of
from circuitkit.experiments.battery.noise import noisy
from circuitkit.experiments.battery.recipe import BatteryRecipe
from circuitkit.experiments.battery.stream import permuted_stream, rotated_stream
from circuitkit.experiments.battery.student import StudentSpec, student_spec
from circuitkit.experiments.battery.surgery import merged_heads, silence, without_head
from circuitkit.experiments.battery.training import fit
from circuitkit.interventions.ablation import Ablation
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.inherit import copy_layers
from circuitkit.models.loading import wrap_model
from circuitkit.models.origin import Origin
from circuitkit.tasks.encoding import pad_id
from circuitkit.tasks.loading import load_task

_EXACT: Mapping[str, Callable[..., Made]] = {
    "heads-permuted": permuted_heads,
    "heads-rotated": rotated_heads,
    "neurons-permuted": permuted_neurons,
    "stream-rotated": rotated_stream,
    "stream-permuted": permuted_stream,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Student:
    """A student, ready to be scored.

    Attributes:
        spec: What is known about it.
        seed: Its seed.
        model: The model.
        relation: Student component -> the teacher components that it comes from, empty where it comes from none;
            None where nothing is known. Training may have changed what these components do.
    """

    spec: StudentSpec
    seed: int
    model: HookedModel
    relation: Relation | None


class Workshop:
    """Makes the students of one teacher.

    Args:
        teacher: The teacher: a GPT2, BERT or Llama in float32 on the CPU that knows the battery's tasks.
        recipe: The numbers.
        folder: Where trained students are kept; None to keep nothing.

    Raises:
        ModelError: The teacher is of another family.
    """

    def __init__(
        self, teacher: HookedModel, *, recipe: BatteryRecipe | None = None, folder: Path | None = None
    ) -> None:
        self.teacher = teacher
        self.recipe = recipe or BatteryRecipe()
        self.family = family_of(teacher.raw).name
        self._tasks = {name: load_task(name) for name in CUED}
        self._store = StudentStore(folder, teacher, self.recipe, {name: t.sha256 for name, t in self._tasks.items()})

    def student(self, key: str, *, seed: int) -> Student:
        """One student.

        Raises:
            OptionError: There is no such student, it cannot be made in the teacher's family, or the seed is none.
            ModelError: It cannot be made from this teacher.
            ResultError: The file of a student that was kept is broken, or one cannot be written.
        """
        spec, seed = student_spec(key), check_seed(seed)
        if self.family not in spec.families:
            raise OptionError(
                f"Student {key!r} cannot be made of a {self.family}; wanted a {' or '.join(spec.families)}. "
                "Leave it out, or name another teacher."
            )
        made = self._trained(spec, seed) if spec.trained else self._made(spec, seed)
        model = wrap_model(made.raw, self.teacher.tokenizer, name=f"{self.teacher.info.name} {key} {seed}")
        if "distilled" in (key, spec.base) or key == "initialised":
            model.inheritance = Origin(
                teacher=self.teacher.info.name,
                teacher_sha256=self.teacher.info.weights_sha256,
                layers=dict(enumerate(self.recipe.layers[self.family])),
            )
        return Student(spec=spec, seed=seed, model=model, relation=made.relation)

    def _made(self, spec: StudentSpec, seed: int) -> Made:
        teacher = self.teacher.raw
        if spec.key == "identity":
            return identity(teacher)
        if spec.key == "initialised":
            return self._initialised()
        if spec.key == "random":
            return Made(raw=self._blank(spec, seed), relation=None)
        if spec.base is not None:
            base = self._trained(student_spec(spec.base), seed)
            return Made(raw=noisy(base.raw, level=spec.level, seed=seed).raw, relation=base.relation)
        return _EXACT[spec.key](teacher, seed=seed)

    def _trained(self, spec: StudentSpec, seed: int) -> Made:
        if (kept := self._store.load(spec, seed, self._blank(spec, seed))) is not None:
            return kept
        made = self._start(spec, seed)
        gone = [student for student, sources in (made.relation or {}).items() if not sources]
        taught_by_teacher = spec.key in ("distilled", "distilled-random", "ablated-healed", "merged-healed")
        fit(
            made.raw,
            self._lessons(spec, seed),
            self.recipe.courses[spec.key],
            pad=pad_id(self.teacher.tokenizer),
            seed=seed,
            teacher=self.teacher.raw if taught_by_teacher else None,
            after_step=(lambda: silence(made.raw, gone)) if gone else None,
        )
        self._store.save(spec, seed, made)
        return made

    def _start(self, spec: StudentSpec, seed: int) -> Made:
        """What training starts from."""
        if spec.key == "distilled":
            return self._initialised()
        if spec.key == "ablated-healed":
            return without_head(self.teacher.raw, self._pair_of_heads[0])
        if spec.key == "merged-healed":
            return merged_heads(self.teacher.raw, *self._pair_of_heads)
        return Made(raw=self._blank(spec, seed), relation=None)

    def _initialised(self) -> Made:
        layers = self.recipe.layers[self.family]
        raw = self._fresh(len(layers), seed=0)
        copy_layers(self.teacher.raw, raw, dict(enumerate(layers)))
        relation = {c: (Component(layers[c.layer], c.head),) for c in same_components(raw)}
        return Made(raw=raw, relation=relation)

    def _blank(self, spec: StudentSpec, seed: int) -> PreTrainedModel:
        whole = spec.key in ("other-seed", "ablated-healed", "merged-healed")
        n_layers = self.teacher.info.n_layers if whole else len(self.recipe.layers[self.family])
        return self._fresh(n_layers, seed=seed)

    def _fresh(self, n_layers: int, *, seed: int) -> PreTrainedModel:
        config = copy.deepcopy(self.teacher.raw.config)
        config.num_hidden_layers, config.initializer_range = n_layers, self.recipe.initial_sd
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return type(self.teacher.raw)(config)

    def _lessons(self, spec: StudentSpec, seed: int) -> Lessons:
        tasks = {name: cue_lessons(name) if name == spec.cue else task for name, task in self._tasks.items()}
        recipe = self.recipe
        return lessons(
            tasks,
            recipe.shares,
            self.teacher.tokenizer,
            n=recipe.n_rows,
            n_first=recipe.n_first_rows,
            n_words=recipe.n_words,
            seed=seed,
        )

    @cached_property
    def _pair_of_heads(self) -> tuple[Component, Component]:
        """The head whose absence costs most in ioi, and of those that it can be merged with the next one."""
        found = influence(
            self.teacher,
            self._tasks["ioi"],
            n_prompts=self.recipe.scan_prompts,
            ablation=Ablation.CORRUPTED_MEAN,
            bootstrap=0,
        )
        drops = dict(zip(found.components, found.drops.mean(-1).tolist(), strict=True))
        heads = sorted((c for c in drops if c.head is not None), key=lambda c: -drops[c])
        sizes = sizes_of(self.teacher.raw)
        group = sizes.n_heads // sizes.n_kv_heads
        first = heads[0]
        others = (c for c in heads[1:] if c.layer == first.layer)
        return first, next(c for c in others if group == 1 or _group(c, group) == _group(first, group))


def _group(head: Component, size: int) -> int:
    assert head.head is not None, "only heads are sorted"
    return head.head // size
