"""What a reader must see beside a circuit's numbers."""

from circuitkit.core.edge import EdgeSpace
from circuitkit.discovery.baseline import measure_baseline
from circuitkit.discovery.circuit_parts import PartSpace
from circuitkit.discovery.influence import about_precision
from circuitkit.discovery.judge import Judgement
from circuitkit.discovery.search import Found, Search
from circuitkit.interventions.circuit_runner import CircuitRunner
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.precision import dtype_name, is_narrow


def about_ability(runner: CircuitRunner) -> tuple[str, ...]:
    """What must be said of a model that does not clearly do the task, whether or not the method needs it to.

    Args:
        runner: Measures `logit_diff`.
    """
    warning = measure_baseline(runner.clean["logit_diff"], None).warning(runner.model.info.name)
    return () if warning is None else (warning,)


def about_circuit(search: Search, found: Found, judgement: Judgement | None) -> tuple[str, ...]:
    """Everything else.

    Args:
        search: What was searched.
        found: The circuit.
        judgement: How good it is, if that was measured.
    """
    parts = PartSpace(space=EdgeSpace(search.model.info.n_layers, search.model.info.n_heads), kind=found.kind)
    empty = not parts.components_in(found.kept)
    return (
        *(["The circuit is empty: no head or MLP is in it."] if empty else []),
        *found.warnings,
        *search.batch.notices,
        *_about_arithmetic(search.model),
        *about_precision(search.model),
        *_about_decisions(search.model, found),
        *(() if judgement is None else judgement.warnings),
    )


def _about_arithmetic(model: HookedModel) -> tuple[str, ...]:
    """Weights that were kept as 16-bit numbers may be computed with in more bits than their owner runs them in."""
    if model.stored_dtype is None:
        return ()
    stored = dtype_name(model.stored_dtype)
    return (
        f"The circuit of {model.info.name} was found in {dtype_name(model.dtype)} arithmetic on its weights as stored "
        f"in {stored}; --dtype {stored} (in Python load_model as it is, and as_loaded=True) computes in {stored}.",
    )


def _about_decisions(model: HookedModel, found: Found) -> tuple[str, ...]:
    """In half precision, what is decided one part at a time depends on what runs beside it."""
    if not is_narrow(model.dtype) or not found.evaluations:
        return ()
    return (
        "Parts whose effect is below the rounding of this number format were kept or removed by chance: --sequential "
        "or another --batch-size may give another circuit; --dtype auto or float32 (in Python without as_loaded) does "
        "not.",
    )
