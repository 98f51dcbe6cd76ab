"""Find a task by name, or read one from a file."""

import difflib
import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from circuitkit.core.errors import TaskError
from circuitkit.tasks.checks import check_definition
from circuitkit.tasks.generator import slot_source
from circuitkit.tasks.rows import RowSource, read_objects, read_pairs
from circuitkit.tasks.schema import TaskDefinition
from circuitkit.tasks.seqcont import is_seqcont, read_seqcont
from circuitkit.tasks.table import table_source
from circuitkit.tasks.task import Task

_PACKAGE = Path(__file__).parents[1]


def task_folder() -> Path:
    """Where the task files are: inside an installed wheel, or beside the package in a checkout."""
    installed = _PACKAGE / "_task_files"
    return installed if installed.is_dir() else _PACKAGE.parent / "tasks"


def available_tasks() -> list[str]:
    """Names of the tasks that ship with circuitkit, in alphabetical order."""
    return sorted(path.stem for path in task_folder().glob("*.toml"))


def load_task(name: str | Path, *, data: str | Path | None = None) -> Task:
    """Load a task.

    Args:
        name: The name of a task that ships with circuitkit, a `.toml` task file or a `.jsonl` file of prompts.
        data: A CSV file that takes the place of the table of a task that has one.

    Raises:
        TaskError: There is no such task or file, or something in it is wrong.
    """
    path = Path(name)
    if path.suffix == ".jsonl":
        if data is not None:
            raise TaskError(f"{path} holds its own prompts and takes no data file; leave out --data {data}.")
        return _task_from_rows(path)
    if path.suffix == ".toml":
        return task_from_file(path, data=data)
    if str(name) in available_tasks():
        return task_from_file(task_folder() / f"{name}.toml", data=data)
    near = difflib.get_close_matches(str(name), available_tasks(), n=1)
    hint = f" Did you mean {near[0]}?" if near else " Own tasks are files that end in .toml or .jsonl."
    raise TaskError(f"There is no task {str(name)!r}; there are {', '.join(available_tasks())}.{hint}")


def load_tasks(names: Sequence[str], *, data: str | Path | None = None) -> list[Task]:
    """Load tasks, in order; a data file goes to the one among several that takes one.

    Raises:
        TaskError: As in `load_task`; or of several tasks none or more than one takes a data file.
    """
    if data is None or len(names) == 1:
        return [load_task(name, data=data) for name in names]
    takers = [name for name in names if _takes_data(name)]
    if len(takers) != 1:
        who = ", ".join(takers) or "none"
        raise TaskError(f"--data {data} goes to one task; of {', '.join(names)}, those that take one: {who}.")
    return [load_task(name, data=data if name in takers else None) for name in names]


def _takes_data(name: str) -> bool:
    path = task_folder() / f"{name}.toml" if name in available_tasks() else Path(name)
    return path.suffix == ".toml" and read_definition(path).table is not None


def read_definition(path: str | Path) -> TaskDefinition:
    """Read and check a task file, without its data.

    Raises:
        TaskError: The file cannot be read, is no TOML, or something in it is wrong.
    """
    return _parse_definition(_read(Path(path)), Path(path))


def task_from_file(path: str | Path, *, data: str | Path | None = None) -> Task:
    """The task of a `.toml` file; a table that it names is looked for beside it.

    Raises:
        TaskError: A file cannot be read, or something in it is wrong.
    """
    path = Path(path)
    content = _read(path)
    definition = _parse_definition(content, path)
    if definition.table is None:
        if data is not None:
            raise TaskError(f"Task {definition.name!r} is not made from a table; leave out --data {data}.")
        return task_from_definition(definition, sha256=_hash(content))
    file = Path(data) if data is not None else path.parent / definition.table.file
    table = _read(file)
    task = task_from_definition(definition, sha256=_hash(content, table), table=table, table_name=str(file))
    return task if data is None else replace(task, data=str(data))


def task_from_definition(
    definition: TaskDefinition, *, sha256: str, table: bytes = b"", table_name: str = "the table"
) -> Task:
    """The task of a definition, which may have been changed after it was read (fewer words, say).

    Args:
        definition: The task; it is checked again.
        sha256: What to record as its hash.
        table: The bytes of its CSV file, for a task with a table.
        table_name: What to call that file in errors.

    Raises:
        TaskError: The definition does not hold together, or the table does not fit it.
    """
    check_definition(definition)
    source = slot_source(definition) if definition.table is None else table_source(definition, table, name=table_name)
    return Task(
        name=definition.name,
        title=definition.title,
        citation=definition.citation,
        sha256=sha256,
        positional=definition.positional,
        source=source,
    )


def _task_from_rows(path: Path) -> Task:
    content = _read(path)
    objects = read_objects(content, name=str(path))
    contents = [content]
    if is_seqcont(objects[0][1]):
        beside = path.with_name(path.name.replace("_clean", "_corrupted"))
        corrupted = None
        if beside != path and beside.exists():
            contents.append(_read(beside))
            corrupted = read_objects(contents[-1], name=str(beside))
        rows = read_seqcont(objects, corrupted)
    else:
        rows = read_pairs(objects)
    return Task(
        name=path.stem,
        title=f"{len(rows)} prompts of {path.name}",
        citation="",
        sha256=_hash(*contents),
        positional=True,
        source=RowSource(rows=rows),
        written=True,
    )


def _parse_definition(content: bytes, path: Path) -> TaskDefinition:
    try:
        definition = TaskDefinition.model_validate(tomllib.loads(content.decode("utf-8")))
        check_definition(definition)
    except UnicodeDecodeError as error:
        raise TaskError(f"{path} is not a text file (byte {error.start} is not UTF-8); wanted a TOML file.") from error
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{path} is not TOML ({error}); mend it there.") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise TaskError(f"{path}: {place}: {first['msg']} (got {str(first['input'])[:60]!r}).") from error
    except TaskError as error:
        raise TaskError(f"{path}: {error}") from error
    return definition


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise TaskError(f"There is no file {path}; wanted a task or data file. Check the path.") from error
    except IsADirectoryError as error:
        raise TaskError(f"{path} is a folder; wanted a file. Name a file in it.") from error
    except OSError as error:
        raise TaskError(f"{path} cannot be read ({error.strerror}); wanted a readable file.") from error


def _hash(*contents: bytes) -> str:
    """Hash of several files; each is hashed first, so that bytes cannot move from one to the next unseen."""
    if len(contents) == 1:
        return hashlib.sha256(contents[0]).hexdigest()
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).hexdigest()
