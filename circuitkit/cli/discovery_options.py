"""Options of the commands that search for circuits."""

from typing import Annotated, Literal

import typer

from circuitkit.core.errors import OptionError

Method = Annotated[
    Literal["prune", "path-patching", "acdc", "eap", "eap-ig", "influence"],
    typer.Option("--method", help="How the circuit is found: of nodes (prune, influence) or of edges (the others)."),
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold", help="Share of the logit difference that the circuit may lose; .2 if not given. Not acdc."
    ),
]
NodeThreshold = Annotated[
    float | None,
    typer.Option("--node-threshold", help="The same for the nodes that path-patching starts from; .2 if not given."),
]
Tau = Annotated[
    float | None,
    typer.Option("--tau", help="acdc: how much worse the metric may get for one edge; .01 if not given."),
]
MetricOption = Annotated[
    Literal["kl", "logit_diff", "probability"] | None,
    typer.Option("--metric", help="acdc: kl (default) or logit_diff. eap, eap-ig: logit_diff (default) and others."),
]
Top = Annotated[
    int | None, typer.Option("--top", help="eap, eap-ig: keep so many edges. influence: keep so many nodes.")
]
MinEffect = Annotated[
    float | None,
    typer.Option("--min-effect", help="eap, eap-ig: least effect of an edge kept. influence: least influence."),
]
By = Annotated[
    Literal["size", "value"] | None,
    typer.Option("--by", help="eap, eap-ig: rank edges by the size of their effect (default) or its signed value."),
]
Passes = Annotated[int | None, typer.Option("--passes", help="prune: end after so many passes; 1 as the notebooks.")]
Nodes = Annotated[
    Literal["pruned", "all"] | None,
    typer.Option("--nodes", help="path-patching: between which nodes edges are looked for; pruned if not given."),
]
Variant = Annotated[
    Literal["inputs", "activations"] | None, typer.Option("--variant", help="eap-ig: what is interpolated.")
]
Steps = Annotated[int | None, typer.Option("--steps", help="eap-ig: between how many points; 5 if not given.")]
Sequential = Annotated[
    bool, typer.Option("--sequential", help="prune, path-patching, acdc: the plain algorithm, one run at a time.")
]
JudgeOption = Annotated[
    Literal["basic", "full", "none"],
    typer.Option("--judge", help="Measure faithfulness (basic); completeness, minimality and the curve too (full)."),
]
Roles = Annotated[
    bool, typer.Option("--roles/--no-roles", help="Find out what the heads of both do, and which roles were kept.")
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="auto: the weights as stored, computed with in float32. float32, bfloat16, float16: in that.",
    ),
]
Sweep = Annotated[
    str | None,
    typer.Option("--sweep", help="Values of the method's threshold, tau or top with commas: one circuit for each."),
]


def parse_values(text: str) -> list[float]:
    """Read numbers with commas between them.

    Raises:
        OptionError: One is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"--sweep {text[:60]!r} not understood; give numbers such as 0.05,0.1,0.2.") from error
