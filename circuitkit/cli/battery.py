"""`circuitkit experiment battery`: scores tried on students of known relation to their teacher."""

import shlex
import sys
from pathlib import Path

from circuitkit.cli import options
from circuitkit.cli.interrupt import kept
from circuitkit.cli.measuring import measuring
from circuitkit.cli.output import check_outputs, default_out, say_where, write_json
from circuitkit.core.errors import OptionError
from circuitkit.core.run_path import drop_partial, partial_folder

NAME = "battery"
TITLE = "which score keeps the laws, on students of known relation to their teacher?"


def run_battery(
    *,
    families: str | None,
    tasks: str | None,
    seeds: int | None,
    students: str | None,
    n_prompts: int,
    bootstrap: int,
    seed: int,
    out: Path | None,
    html: Path | None,
    json_to: str | None,
) -> None:
    """Run the battery and write its run directory and report.

    Raises:
        OptionError: An option is unknown or out of range.
        ResultError: A result cannot be written.
    """
    out = out or default_out("experiment", NAME, *(families or "").split(","))
    check_outputs(out, html, json_to)
    with kept(out):
        from circuitkit.cli.study_tables import study_table
        from circuitkit.experiments.battery.battery import BatteryOptions, battery
        from circuitkit.reports.html import report

        default = BatteryOptions()
        chosen = BatteryOptions(
            families=default.families if families is None else _listed("--families", families),
            tasks=default.tasks if tasks is None else tuple(options.split_tasks(tasks)),
            seeds=default.seeds if seeds is None else seeds,
            students=None if students is None else _listed("--students", students),
            n_prompts=n_prompts,
            bootstrap=bootstrap,
            seed=seed,
        )
        with measuring(out) as progress:
            result = battery(
                chosen,
                resume=partial_folder(out),
                command=shlex.join(["circuitkit", *sys.argv[1:]]),
                progress=progress,
            )
        result.save(out)
        drop_partial(out)
        write_json(result.to_dict(), json_to)
        study_table(result)
        say_where(out, report(out, html), json_to=json_to)


def refuse_foreign(**given: object) -> None:
    """Refuse options of other experiments; None is not given.

    Raises:
        OptionError: One is given.
    """
    for name, value in given.items():
        if value is not None:
            option = name.replace("_", "-")
            raise OptionError(
                f"The battery does not take --{option}; it takes --families, --tasks, --seeds, --students, "
                "--n-prompts, --bootstrap and --seed. Leave it out."
            )


def _listed(option: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise OptionError(f"{option} {text[:60]!r} holds an empty name; give names with single commas between them.")
    return names
