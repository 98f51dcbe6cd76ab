"""The common form of a study: what was asked, tables and figures with intervals, and what it was made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import load_run, save_run
from circuitkit.experiments.study_figure import StudyFigure, figure_dict, read_figure
from circuitkit.experiments.study_table import StudyTable

SCHEMA = "circuitkit.experiment/1"
_MADE_WITH = ("command", "device", "dtype", "versions")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """One experiment on one teacher and student.

    Attributes:
        name: Its name on the command line.
        title: What it is, in a line.
        source: Where it is from: paper, section, table or figure.
        models: The record of each model by role: `teacher`, `student`.
        tasks: The prompts it rests on, one record a task.
        findings: What came out, in plain sentences, the main one first.
        caution: What it cannot tell.
        tables: Tables by name.
        figures: Figures by name.
        settings: Every option.
        notices: Everything that a reader must see beside the numbers.
        made_with: Versions, device, dtype and command.
    """

    name: str
    title: str
    source: str
    models: Mapping[str, Mapping[str, Any]]
    tasks: tuple[Mapping[str, Any], ...]
    findings: tuple[str, ...]
    caution: str
    tables: Mapping[str, StudyTable]
    figures: Mapping[str, StudyFigure]
    settings: Mapping[str, Any]
    notices: tuple[str, ...]
    made_with: Mapping[str, Any]

    def frame(self, table: str) -> pd.DataFrame:
        """One of its tables as pandas.

        Raises:
            ResultError: The study has no such table.
        """
        if table not in self.tables:
            raise ResultError(f"Study {self.name!r} has no table {table!r}; it has {', '.join(self.tables)}.")
        return self.tables[table].frame()

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.experiment/1`."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "models": {role: dict(model) for role, model in self.models.items()},
            "tasks": [dict(task) for task in self.tasks],
            "settings": dict(self.settings),
            **self.made_with,
            "findings": list(self.findings),
            "caution": self.caution,
            "tables": {name: table.to_dict() for name, table in self.tables.items()},
            "figures": {name: figure_dict(figure) for name, figure in self.figures.items()},
            "warnings": list(self.notices),
        }

    def save(self, path: str | Path) -> Path:
        """Write a run directory.

        Raises:
            ResultError: It cannot be written.
        """
        return save_run(Path(path), self.to_dict(), {}, {})

    @classmethod
    def load(cls, path: str | Path) -> "Study":
        """Read back what `save` wrote.

        Raises:
            ResultError: There is no such run, it is broken, or it is another kind of result.
        """
        r = load_run(path, schema=SCHEMA).result
        try:
            return cls(
                name=r["name"],
                title=r["title"],
                source=r["source"],
                models=r["models"],
                tasks=tuple(r["tasks"]),
                findings=tuple(r["findings"]),
                caution=r["caution"],
                tables={name: StudyTable.from_dict(table) for name, table in r["tables"].items()},
                figures={name: read_figure(figure) for name, figure in r["figures"].items()},
                settings=r["settings"],
                notices=tuple(r["warnings"]),
                made_with={name: r[name] for name in _MADE_WITH},
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ResultError(
                f"Run {str(path)!r} is broken ({type(error).__name__}: {error}). Make it again."
            ) from error

    def __repr__(self) -> str:
        models = " -> ".join(repr(model["name"]) for model in self.models.values())
        tasks = ", ".join(str(task["name"]) for task in self.tasks)
        return f"Study({self.name}, {models} on {tasks}: {self.findings[0] if self.findings else 'nothing found'})"
