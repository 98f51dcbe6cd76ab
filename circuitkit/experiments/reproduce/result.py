"""A finished reproduction: claims and comparisons on one page, every study in a run of its own."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from circuitkit.core.run_directory import Contents, save_run
from circuitkit.experiments.published.figures import PublishedPair, published
from circuitkit.experiments.reproduce.claim import Claim
from circuitkit.experiments.reproduce.claims import judge_claims, pairs_in_order
from circuitkit.experiments.reproduce.comparison import comparison_table, discrepancies_table
from circuitkit.experiments.reproduce.measured import measured_figures
from circuitkit.experiments.reproduce.pairs import PairNames, Skipped
from circuitkit.experiments.reproduce.plan import N_PROMPTS, few_prompts, prompts_for
from circuitkit.experiments.study import Study
from circuitkit.experiments.study_figure import StudyFigure, figure_dict
from circuitkit.experiments.study_table import Cell, Column, StudyTable

SCHEMA = "circuitkit.reproduction/1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairResult:
    """One pair: its studies, its claims and ours beside the published figures.

    Attributes:
        names: The pair.
        studies: Studies by the name of their run.
        claims: What holds of it.
        compared: Ours beside the published figures.
        figures_of: The paper's pair that stands beside it; None for no like.
        same: Whether it is that very pair.
    """

    names: PairNames
    studies: Mapping[str, Study]
    claims: tuple[Claim, ...]
    compared: StudyTable
    figures_of: str | None
    same: bool

    @classmethod
    def of(
        cls,
        names: PairNames,
        studies: Mapping[str, Study],
        like: tuple[PublishedPair, bool] | None,
        *,
        tasks: Sequence[str],
    ) -> "PairResult":
        """Judge and compare the finished studies of a pair.

        Args:
            names: The pair.
            studies: Studies by the name of their run.
            like: The paper's pair that is like it, and whether it is the very same.
            tasks: Tasks that were run.
        """
        pair, same = like or (None, False)
        return cls(
            names=names,
            studies=studies,
            claims=judge_claims(studies, pair),
            compared=comparison_table(
                f"{names} beside the published figures", measured_figures(studies), pair, same=same, tasks=tasks
            ),
            figures_of=None if pair is None else pair.name,
            same=same,
        )

    @property
    def folder(self) -> str:
        """What the names of its runs begin with."""
        return run_folder(self.names)


def run_folder(names: PairNames) -> str:
    """What the names of a pair's runs begin with: the last parts of its models' names."""
    parts = (Path(names.teacher).name, Path(names.student).name)
    return "-".join(re.sub(r"[^A-Za-z0-9._+-]+", "_", part) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reproduction:
    """Every pair that was run.

    Attributes:
        pairs: The pairs, in the order in which they were run.
        across: Claims over pairs.
        skipped: Pairs and studies that were not run, and why.
        settings: Every option.
        made_with: Versions, device, dtype and command.
    """

    pairs: tuple[PairResult, ...]
    across: tuple[Claim, ...]
    skipped: tuple[Skipped, ...]
    settings: Mapping[str, Any]
    made_with: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        pairs: Sequence[PairResult],
        skipped: Sequence[Skipped],
        *,
        settings: Mapping[str, Any],
        made_with: Mapping[str, Any],
    ) -> "Reproduction":
        """Put pairs together and judge the claims over them."""
        over = pairs_in_order({str(pair.names): pair.studies for pair in pairs})
        return cls(
            pairs=tuple(pairs),
            across=() if over is None else (over,),
            skipped=tuple(skipped),
            settings=settings,
            made_with=made_with,
        )

    @property
    def claims_table(self) -> StudyTable:
        """Every claim on every pair."""
        rows = [_claim_row(str(pair.names), claim) for pair in self.pairs for claim in pair.claims]
        rows += [_claim_row("all pairs", claim) for claim in self.across]
        return StudyTable(
            title="Claims of the paper on each pair",
            columns=(
                Column(name="pair", title="pair", kind="text"),
                Column(name="verdict", title="here", kind="text"),
                Column(name="null", title="survives the null", kind="text"),
                Column(name="control", title="survives the control", kind="text"),
                Column(name="claim", title="claim", kind="text"),
                Column(name="evidence", title="ours", kind="text"),
                Column(name="beside", title="null and control", kind="text"),
                Column(name="rule", title="rule", kind="text"),
                Column(name="source", title="source", kind="text"),
            ),
            rows=tuple(sorted(rows, key=lambda row: [c["claim"] for c in rows].index(row["claim"]))),
            note="Decided by the rule in each row. The control is the student as it was before distillation, with its "
            "teacher's layers copied in and nothing learned, where its origin is known.",
        )

    @property
    def findings(self) -> tuple[str, ...]:
        """How each claim fares, in a sentence."""
        out: list[str] = []
        every = [(str(p.names), c) for p in self.pairs for c in p.claims] + [("all pairs", c) for c in self.across]
        for text in dict.fromkeys(claim.claim for _, claim in every):
            own = [(pair, claim) for pair, claim in every if claim.claim == text]
            held = [pair for pair, claim in own if claim.verdict == "holds"]
            told = [pair for pair, claim in own if claim.verdict != "not comparable"]
            nulls = [claim.null for _, claim in own if claim.verdict == "holds" and claim.null is not None]
            controls = [claim.control for _, claim in own if claim.verdict == "holds" and claim.control is not None]
            beyond = f"; of these survive the null {sum(nulls)} of {len(nulls)}" if nulls else ""
            beyond += f", the control {sum(controls)} of {len(controls)}" if controls else ""
            where = f" ({', '.join(held)})" if held and len(held) < len(told) else ""
            out.append(f"“{text}” holds on {len(held)} of {len(told)}{where}{beyond}.")
        return tuple(out)

    @property
    def tables(self) -> dict[str, StudyTable]:
        """Claims, comparisons, known differences, and what was not run."""
        compared = {f"compared-{pair.folder}": pair.compared for pair in self.pairs}
        skipped = StudyTable(
            title="Not run",
            columns=(Column(name="what", title="what", kind="text"), Column(name="why", title="why", kind="text")),
            rows=tuple({"what": one.what, "why": one.why} for one in self.skipped),
        )
        tables = {"claims": self.claims_table, **compared}
        tables["differences"] = discrepancies_table([pair.compared for pair in self.pairs])
        tables["runs"] = self._runs_table()
        return {**tables, **({"skipped": skipped} if self.skipped else {})}

    def _runs_table(self) -> StudyTable:
        rows: list[dict[str, Cell]] = [
            {
                "run": f"{pair.folder}-{run}",
                "pair": str(pair.names),
                "study": study.title,
                "finding": study.findings[0] if study.findings else None,
            }
            for pair in self.pairs
            for run, study in pair.studies.items()
        ]
        return StudyTable(
            title="Every run",
            columns=(
                Column(name="run", title="run", kind="text"),
                Column(name="pair", title="pair", kind="text"),
                Column(name="study", title="study", kind="text"),
                Column(name="finding", title="finding", kind="text"),
            ),
            rows=tuple(rows),
            note="Each is a run directory inside this one; circuitkit report draws its page.",
        )

    @property
    def figures(self) -> dict[str, StudyFigure]:
        """Scores of each pair under noise and beside their controls."""
        wanted = {"noise": "alignment", "cross-task": "scores", "reliance": "effective"}
        return {
            f"{pair.folder}-{run}": _titled(study.figures[wanted[study.name]], str(pair.names))
            for pair in self.pairs
            for run, study in pair.studies.items()
            if study.name in wanted and wanted[study.name] in study.figures
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract of `circuitkit.reproduction/1`: that of an experiment, with claims and pairs."""
        every = [task for pair in self.pairs for study in pair.studies.values() for task in study.tasks]
        # studies that run a model many times take the first prompts of a task; the record of the most is shown
        tasks = {str(task["name"]): dict(task) for task in sorted(every, key=lambda task: int(task["n_prompts"]))}
        return {
            "schema": SCHEMA,
            "name": "reproduce distilled-circuits",
            "title": "Distilled Circuits, run again",
            "source": f"{published().paper}; notebooks: {published().notebooks}",
            "models": {
                f"{role} {i}": dict(model)
                for i, pair in enumerate(self.pairs)
                for role, model in next(iter(pair.studies.values())).models.items()
            },
            "tasks": list(tasks.values()),
            "settings": dict(self.settings),
            **self.made_with,
            "pairs": [
                {
                    "teacher": pair.names.teacher,
                    "student": pair.names.student,
                    "figures_of": pair.figures_of,
                    "same_models": pair.same,
                    "runs": [f"{pair.folder}-{run}" for run in pair.studies],
                    "claims": [asdict(claim) for claim in pair.claims],
                }
                for pair in self.pairs
            ],
            "across": [asdict(claim) for claim in self.across],
            "skipped": [asdict(one) for one in self.skipped],
            "findings": list(self.findings),
            "caution": "Embedded pairs are small models trained for these tasks: where a claim fails or holds on them, "
            "that says nothing yet of the models of the paper. Published figures beside them are of other models.",
            "tables": {name: table.to_dict() for name, table in self.tables.items()},
            "figures": {name: figure_dict(figure) for name, figure in self.figures.items()},
            "warnings": [*self._fewer(), *(f"Not run: {one.what}: {one.why}" for one in self.skipped)],
        }

    def _fewer(self) -> list[str]:
        """Pairs that were run on fewer prompts for their size."""
        sizes = {pair.names: next(iter(pair.studies.values())).models["teacher"] for pair in self.pairs}
        counts = {names: int(m["n_layers"]) * (int(m["n_heads"]) + 1) for names, m in sizes.items()}
        few = [(names, n) for names, n in counts.items() if prompts_for(n) < N_PROMPTS]
        return [f"{names}: {few_prompts(n)}" for names, n in few] if self.settings["n_prompts"] is None else []

    def save(self, path: str | Path) -> Path:
        """Write a run directory that holds every study in one of its own.

        Raises:
            ResultError: It cannot be written.
        """
        children: dict[str, Contents] = {
            f"{pair.folder}-{run}": (study.to_dict(), {}, {})
            for pair in self.pairs
            for run, study in pair.studies.items()
        }
        return save_run(Path(path), self.to_dict(), {}, {}, children=children)

    def __repr__(self) -> str:
        return f"Reproduction({', '.join(str(pair.names) for pair in self.pairs)}: {' '.join(self.findings)})"


def _claim_row(pair: str, claim: Claim) -> dict[str, Cell]:
    return {
        "claim": claim.claim,
        "pair": pair,
        "verdict": claim.verdict,
        "null": _told(claim.null),
        "control": _told(claim.control),
        "evidence": claim.evidence,
        "beside": claim.beside or None,
        "rule": claim.rule,
        "source": claim.source,
    }


def _told(survives: bool | None) -> str | None:
    return None if survives is None else "yes" if survives else "no"


def _titled(figure: StudyFigure, pair: str) -> StudyFigure:
    return replace(figure, title=f"{pair}: {figure.title}")
