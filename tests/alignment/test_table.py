"""Several tasks in one table: none hides another. And the options that all results record."""

from dataclasses import replace

import pytest

from circuitkit.alignment.align import align
from circuitkit.alignment.result import AlignmentResult
from circuitkit.alignment.table import check_task_names, save_table, table_dict
from circuitkit.core.errors import OptionError, TaskError
from circuitkit.core.run_directory import load_run
from circuitkit.core.seeds import MAX_SEED
from circuitkit.discovery.influence import influence
from circuitkit.discovery.normalize import influence_unit
from circuitkit.tasks.loading import load_task


@pytest.fixture(scope="module")
def results(tiny_models):
    options = {"n_prompts": 8, "bootstrap": 0, "null": "none", "batch_size": 64}
    return [align(tiny_models["gpt2"], tiny_models["gpt2"], load_task(name), **options) for name in ("ioi", "months")]


@pytest.mark.parametrize("names", [["a", "b", "a"], ["IOI", "ioi"], ["a", "result.json"], ["a", ".."], ["a", "b/c"]])
def test_names_that_hide_another_are_refused(names):
    with pytest.raises(TaskError, match="Rename"):
        check_task_names(names)


def test_results_of_one_name_make_no_table(results, tmp_path):
    twice = [results[0], replace(results[1], task=results[0].task)]
    with pytest.raises(TaskError, match="'ioi'"):
        table_dict(twice)
    with pytest.raises(TaskError, match="'ioi'"):
        save_table(twice, tmp_path / "table")
    assert not list(tmp_path.iterdir())


def test_every_task_of_a_saved_table_is_a_run(results, tmp_path):
    table = save_table(results, tmp_path / "table")
    assert list(load_run(table).result["tasks"]) == ["ioi", "months"]
    for result in results:
        again = AlignmentResult.load(table / str(result.task["name"]))
        assert again.to_dict() == result.to_dict()
        assert again.settings["batch_size"] == 64
    save_table(results[:1], table)
    assert sorted(p.name for p in table.iterdir()) == ["ioi", "result.json"]


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 10**23])
def test_seeds_that_torch_does_not_take_are_refused_at_once(tiny_models, seed):
    model, task = tiny_models["gpt2"], load_task("ioi")
    for measure in (lambda: influence(model, task, seed=seed), lambda: align(model, model, task, seed=seed)):
        with pytest.raises(OptionError, match="out of range"):
            measure()


def test_the_last_seed_serves_random_students_too(tiny_models):
    model = tiny_models["gpt2"]
    align(model, model, load_task("ioi"), n_prompts=4, seed=MAX_SEED, bootstrap=4, null="both")


def test_units_say_what_is_divided_by():
    assert influence_unit("l1", "clamp").startswith("drop divided by the sum of the drops")
    assert "by their size" in influence_unit("max", "abs")
