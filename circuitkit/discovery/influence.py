"""How much every head and MLP of a model contributes to a task."""

from pathlib import Path
from typing import Literal

from circuitkit.core.errors import OptionError
from circuitkit.core.progress import Progress, silent
from circuitkit.core.provenance import provenance
from circuitkit.core.seeds import check_seed
from circuitkit.discovery.influence_result import Influence
from circuitkit.discovery.measure import Measurement, Method, parse_method
from circuitkit.discovery.normalize import Normalize, Sign, parse_normalize, parse_sign
from circuitkit.interventions.ablation import Ablation, parse_ablation
from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.precision import dtype_name, is_narrow
from circuitkit.tasks.batch import PromptBatch, build_batch
from circuitkit.tasks.describe import describe_task
from circuitkit.tasks.task import Task


def influence(
    model: HookedModel,
    task: Task | PromptBatch,
    *,
    n_prompts: int = 384,
    ablation: Ablation | str = Ablation.CORRUPTED_MEAN,
    method: Method | str = "exact",
    normalize: Normalize | str = "max",
    sign: Sign | str = "clamp",
    bootstrap: int = 1000,
    seed: int = 0,
    batch_size: int | Literal["auto"] = "auto",
    resume: Path | None = None,
    command: str | None = None,
    stage: str = "sweep",
    progress: Progress = silent,
) -> Influence:
    """Measure every component's influence on a task by ablation (Distilled Circuits, Eqs. 3-5).

    Args:
        model: The model.
        task: A task, or a batch of prompts already built for this model.
        n_prompts: Prompts to draw from the task.
        ablation: What replaces an activation.
        method: `exact` ablates every component on every prompt. `screen` estimates all by one forward and one
            backward pass, checks the estimates on a sample of the prompts and measures exactly what can matter.
        normalize: How drops become influences.
        sign: How components are counted whose ablation helps.
        bootstrap: Draws for the intervals; 0 for none.
        seed: Seed of prompts and bootstrap.
        batch_size: Rows run at a time.
        resume: Folder in which finished shards are kept and looked for.
        command: The command line that asked for this, kept with the result.
        stage: Name of this work in progress reports.
        progress: Called as the work advances.

    Raises:
        TaskError: Too few prompts can be used.
        OptionError: An option is unknown, out of range or does not go with the task.
    """
    ablation, seed, method = parse_ablation(ablation), check_seed(seed), parse_method(method)
    normalize, sign = parse_normalize(normalize), parse_sign(sign)
    if bootstrap < 0:
        raise OptionError(f"{bootstrap} bootstrap draws were asked for; give 0 for no intervals, or a positive number.")
    batch = (
        task
        if isinstance(task, PromptBatch)
        else _batch(model, task, n_prompts, seed, ablation=ablation, progress=progress)
    )
    made_with = provenance(device=str(model.device), dtype=dtype_name(model.dtype), command=command)
    job = Measurement(
        model=model,
        batch=batch,
        ablation=ablation,
        batch_size=batch_size,
        resume=resume,
        versions=made_with["versions"],
        stage=stage,
        progress=progress,
    )
    if method == "screen":
        run, screen = job.screened(normalize=normalize, sign=sign, seed=seed)
    else:
        run, screen = job.exact(), None
    return Influence(
        model=model.info,
        task=describe_task(batch),
        components=run.components,
        clean=run.clean,
        ablated=run.ablated,
        normalize=normalize,
        sign=sign,
        n_draws=bootstrap,
        settings={
            "n_prompts": n_prompts,
            "ablation": ablation.value,
            "method": method,
            "normalize": normalize,
            "sign": sign,
            "bootstrap": bootstrap,
            "seed": seed,
            "batch_size": batch_size,
            "data": task.data if isinstance(task, Task) else None,  # a batch does not know
        },
        made_with=made_with,
        notices=(
            *([screen.notice(len(run.clean))] if screen else []),
            *batch.notices,
            *about_precision(model),
        ),
        screen=screen,
    )


def about_precision(model: HookedModel) -> tuple[str, ...]:
    """What a reader must know of numbers that were computed in half precision; nothing in float32 or wider."""
    if not is_narrow(model.dtype):
        return ()
    return (
        f"{model.info.name} ran in {dtype_name(model.dtype)}: drops of a few tenths of a logit may be rounding; "
        "--dtype float32.",
    )


def _batch(
    model: HookedModel, task: Task, n_prompts: int, seed: int, *, ablation: Ablation, progress: Progress
) -> PromptBatch:
    need = ablation.needs_corrupted
    return build_batch(task, model, n_prompts=n_prompts, seed=seed, need_corrupted=need, progress=progress)
