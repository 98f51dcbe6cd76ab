"""Our figures beside the published ones, row by row, with the definition that each stands on."""

from collections.abc import Sequence

from circuitkit.experiments.published.figures import PublishedFigure, PublishedPair, published
from circuitkit.experiments.reproduce.measured_figure import Measured
from circuitkit.experiments.study_table import Cell, Column, StudyTable

_TOKENS_OF: dict[str | None, tuple[str, ...]] = {"mean stream": ("all tokens", "mean stream")}
"""What stands beside a cosine that is printed as of MLP outputs and is not."""

_ALONE = ("alignment", "logit_diff", "mean_drop")
"""Quantities that are also shown for tasks of which nothing was published."""


def comparison_table(
    title: str, ours: Sequence[Measured], pair: PublishedPair | None, *, same: bool, tasks: Sequence[str]
) -> StudyTable:
    """Every published figure of a pair on the tasks that were run, with ours beside it.

    Args:
        title: Title of the table.
        ours: What was measured.
        pair: The paper's pair that is set beside ours; None where there is no like.
        same: Whether it is the very same pair; if not, its figures are marked as of another model.
        tasks: Tasks that were run.
    """
    figures = () if pair is None else tuple(f for f in published().of_pair(pair.name) if f.task in tasks)
    rows: list[dict[str, Cell]] = []
    used: set[int] = set()
    for figure in figures:
        found = matching(figure, ours, same=same)
        used.update(id(one) for one in found)
        rows += [_row(figure, one, same=same) for one in found]
        if not found and same:
            rows.append(_row(figure, None, same=same))
    rows += [_row(None, one, same=same) for one in ours if one.quantity in _ALONE and id(one) not in used]
    return StudyTable(title=title, columns=_columns(), rows=tuple(rows), note=_note(pair, same=same))


def matching(figure: PublishedFigure, ours: Sequence[Measured], *, same: bool) -> list[Measured]:
    """Our figures to set beside a published one: by the paper's text first, by the notebooks' definition after it.

    Args:
        figure: The published figure.
        ours: What was measured.
        same: Whether it is of the same models: then components are compared by name, otherwise by role.
    """
    alike = [o for o in ours if (o.quantity, o.task, o.side) == (figure.quantity, figure.task, figure.side)]
    if figure.quantity == "alignment":
        return [o for name in _definitions_of(figure) for o in alike if o.variant == name]
    if figure.quantity in ("role_drop", "role_retained"):
        if same:
            named = [o for o in alike if o.component == figure.component]
            return [o for o in named if o.variant and o.variant.endswith("named")]
        return [o for o in alike if o.role == figure.role]
    if figure.quantity in ("mlp_cosine", "mlp_drop"):
        alike = [o for o in alike if (o.component == figure.component if same else o.role and o.role == figure.role)]
        return [o for o in alike if o.variant in _TOKENS_OF.get(figure.variant, (figure.variant,))]
    if figure.quantity.startswith("probe element") and alike:  # printed of the i-th element, whichever
        return [max(alike, key=lambda one: one.variant or "")]
    return alike


def _definitions_of(figure: PublishedFigure) -> tuple[str, ...]:
    if figure.printed == "paper":
        return ("text", "l1-abs", "notebook")
    return ("notebook",) if "random sequences" in figure.definition else ("notebook-zero",)


def _row(figure: PublishedFigure | None, ours: Measured | None, *, same: bool) -> dict[str, Cell]:
    known = ours or figure
    paper = None if figure is None or figure.printed != "paper" else figure
    notebook = None if figure is None or figure.printed != "notebook" else figure
    quantity, task, side = ("", "", None) if known is None else (known.quantity, known.task, known.side)
    return {
        "quantity": quantity.replace("_", " "),
        "task": task,
        "model": side or "pair",
        "component": _components(figure, ours),
        "ours": None if ours is None else ours.value,
        "ours_ci95": None if ours is None else ours.ci95,
        "n": None if ours is None else ours.n,
        "paper": None if paper is None else paper.value,
        "paper_ci95": None if paper is None else paper.ci95,
        "notebook": None if notebook is None else notebook.value,
        "their_n": None if figure is None else figure.n,
        "of": None if figure is None else figure.pair if same else f"{figure.pair}, not these",
        "definition": None if ours is None else ours.definition,
        "their_definition": None if figure is None else figure.definition,
        "source": None if figure is None else figure.source,
        "discrepancies": None if figure is None else ", ".join(figure.discrepancies) or None,
        "study": None if ours is None else ours.study,
    }


def _components(figure: PublishedFigure | None, ours: Measured | None) -> str | None:
    mine, theirs = (None if x is None else x.component for x in (ours, figure))
    own = figure if figure is not None and (ours is None or mine == theirs) else ours
    role = None if own is None else own.role
    names = mine if theirs in (None, mine) else f"{mine or 'none'} (theirs {theirs})"
    return names if role is None else f"{role}: {names}"


def _columns() -> tuple[Column, ...]:
    return (
        Column(name="quantity", title="quantity", kind="text"),
        Column(name="task", title="task", kind="text"),
        Column(name="model", title="model", kind="text"),
        Column(name="ours", title="ours"),
        Column(name="ours_ci95", title="95%", kind="interval"),
        Column(name="paper", title="paper", digits=4),
        Column(name="notebook", title="notebook", digits=4),
        Column(name="of", title="of", kind="text"),
        Column(name="component", title="component", kind="text"),
        Column(name="paper_ci95", title="paper 95%", kind="interval", digits=4),
        Column(name="n", title="our prompts", kind="count"),
        Column(name="their_n", title="their prompts", kind="count"),
        Column(name="definition", title="our definition", kind="text"),
        Column(name="their_definition", title="their definition", kind="text"),
        Column(name="source", title="source", kind="text"),
        Column(name="discrepancies", title="known differences", kind="text"),
        Column(name="study", title="run", kind="text"),
    )


def _note(pair: PublishedPair | None, *, same: bool) -> str:
    if pair is None:
        return "The paper has no pair of these families: there is nothing to set beside ours."
    whose = (
        "Published figures are of these very models."
        if same
        else f"Published figures are of {pair.name}, other models than these: they show what was printed, and ours "
        "need not be near them."
    )
    return (
        f"{whose} Where a figure comes from another definition than the paper's text, ours stands in a row for each. "
        "Known differences between the paper's text and its notebooks are named by id and explained below."
    )


def discrepancies_table(used: Sequence[StudyTable]) -> StudyTable:
    """The known differences that bear on the figures shown."""
    ids = {name for table in used for row in table.rows for name in str(row["discrepancies"] or "").split(", ") if name}
    known = published().discrepancies
    return StudyTable(
        title="Known differences between the paper's text and its notebooks",
        columns=(
            Column(name="id", title="id", kind="text"),
            Column(name="paper", title="paper", kind="text"),
            Column(name="notebooks", title="notebooks", kind="text"),
            Column(name="consequence", title="what follows", kind="text"),
            Column(name="bears", title="bears on figures shown", kind="flag"),
        ),
        rows=tuple(
            {
                "id": name,
                "paper": entry.get("paper"),
                "notebooks": entry.get("notebooks"),
                "consequence": entry.get("consequence"),
                "bears": name in ids,
            }
            for name, entry in known.items()
        ),
        note=f"Values from {published().paper} and {published().notebooks}.",
    )
