import errno
import json
import math
import os
from pathlib import Path

import pytest
import torch

from circuitkit.core import run_directory
from circuitkit.core.errors import ResultError
from circuitkit.core.run_directory import ShardStore, load_run, save_run
from circuitkit.core.run_path import check_target, drop_partial, partial_folder

RESULT = {"schema": "circuitkit.test/1", "value": 1.5}
TENSORS = {"clean": torch.arange(3.0)}
AXES = {"clean": ("prompt",)}


def test_reads_back_what_was_written(tmp_path):
    run = load_run(save_run(tmp_path / "a" / "run", RESULT, TENSORS, AXES), schema="circuitkit.test/1")
    assert run.result["value"] == 1.5
    assert run.result["tensors"] == {"clean": {"axes": ["prompt"], "shape": [3], "dtype": "float32"}}
    assert torch.equal(run.tensors["clean"], TENSORS["clean"])
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["run"]


def test_an_earlier_run_is_replaced_whole(tmp_path):
    save_run(tmp_path / "run", RESULT, TENSORS, AXES)
    (tmp_path / "run" / "report.html").write_text("old")
    save_run(tmp_path / "run", {**RESULT, "value": 2}, {}, {})
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["result.json"]
    assert load_run(tmp_path / "run").result["value"] == 2


def test_a_failed_write_leaves_the_earlier_run(tmp_path):
    save_run(tmp_path / "run", RESULT, TENSORS, AXES)
    with pytest.raises(ValueError, match="JSON compliant"):
        save_run(tmp_path / "run", {**RESULT, "value": math.nan}, {}, {})
    assert load_run(tmp_path / "run").result["value"] == 1.5


def test_nothing_foreign_is_overwritten(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ResultError, match="is a file; a run needs a directory"):
        check_target(tmp_path / "file")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    with pytest.raises(ResultError, match="other files in it"):
        save_run(tmp_path / "folder", RESULT, {}, {})
    with pytest.raises(ResultError, match="cannot be written"):
        check_target(tmp_path / "file" / "run")
    assert (tmp_path / "folder" / "thesis.tex").read_text() == "mine"


def _table(path):
    table = {"schema": "circuitkit.alignment-table/1", "tasks": {"ioi": RESULT, "months": RESULT}}
    children = {name: (RESULT, TENSORS, AXES) for name in table["tasks"]}
    return save_run(path, table, {}, {}, children=children)


def test_a_result_json_does_not_make_a_folder_ours(tmp_path):
    (tmp_path / "theirs").mkdir()
    for text in ('{"schema": "their.results/1"}', "[1]", "half a", "\udcff"):
        (tmp_path / "theirs" / "result.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ResultError, match=r"other files in it \('result.json'\)"):
            save_run(tmp_path / "theirs", RESULT, {}, {})
        assert (tmp_path / "theirs" / "result.json").exists()
    run = save_run(tmp_path / "run", RESULT, TENSORS, AXES)
    for name in ("notes.txt", "ioi"):
        (run / name).mkdir()
        with pytest.raises(ResultError, match=name):
            save_run(run, RESULT, {}, {})
        (run / name).rmdir()
    save_run(run, RESULT, {}, {})


def test_what_a_table_holds_is_looked_through(tmp_path):
    table = _table(tmp_path / "table")
    assert load_run(_table(table) / "ioi").tensors["clean"].shape == (3,)
    (table / "ioi" / "thesis.tex").write_text("mine")
    with pytest.raises(ResultError, match=r"ioi/thesis\.tex"):
        _table(table)
    (table / "ioi" / "thesis.tex").unlink()
    save_run(table, RESULT, {}, {})
    assert sorted(p.name for p in table.iterdir()) == ["result.json"]


def test_runs_inside_a_run_appear_with_it_or_not_at_all(tmp_path, monkeypatch):
    table, calls = _table(tmp_path / "table"), []
    (table / "report.html").write_text("old")

    def full(*args):
        calls.append(args)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return run_directory_save(*args)

    run_directory_save = run_directory.save_file
    monkeypatch.setattr(run_directory, "save_file", full)
    with pytest.raises(ResultError, match="No space left on device"):
        _table(table)
    assert sorted(p.name for p in table.iterdir()) == ["ioi", "months", "report.html", "result.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["table"]


def test_a_run_never_takes_the_place_of_the_current_directory(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    for path in (Path(), Path(), Path(".."), tmp_path / "inside", tmp_path, Path("/"), Path("x/.."), Path("../..")):
        with pytest.raises(ResultError, match="current directory"):
            check_target(path)
    check_target(Path("run"))


@pytest.mark.parametrize("length", [300, 250])
def test_names_too_long_for_the_file_system_are_refused(tmp_path, length):
    for path in (tmp_path / ("n" * length), tmp_path / "not" / "there" / ("n" * length)):
        with pytest.raises(ResultError, match="too long") as caught:
            check_target(path)
        assert len(str(caught.value)) < 300
    deep = tmp_path.joinpath(*["n" * 200] * 20)
    with pytest.raises(ResultError, match="too long"):
        check_target(deep)
    with pytest.raises(ResultError, match="too long"):
        ShardStore(partial_folder(tmp_path / ("n" * length)), "key").load("0")
    check_target(tmp_path / ("n" * 240))


def test_names_that_are_not_utf8_are_written_and_read_back(tmp_path):
    name = os.fsdecode(b"pr\xff")
    run = save_run(tmp_path / "run", {**RESULT, "tasks": {name: 1}}, {}, {})
    assert "pr\\udcff" in (run / "result.json").read_text(encoding="utf-8")
    assert load_run(run).result["tasks"] == {name: 1}


def test_broken_runs_are_named_in_one_line(tmp_path):
    def message(path, **options):
        with pytest.raises(ResultError) as caught:
            load_run(path, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "holds no result.json" in message(tmp_path)
    run = save_run(tmp_path / "run", RESULT, TENSORS, AXES)
    assert "wanted circuitkit.alignment/1" in message(run, schema="circuitkit.alignment/1")
    (run / "tensors.safetensors").unlink()
    assert "lacks tensors that it lists: clean" in message(run)
    (run / "tensors.safetensors").write_bytes(b"\x80\x04nonsense")
    assert "cannot be read" in message(run)
    (run / "tensors.safetensors").unlink()
    (run / "result.json").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in message(run)
    (run / "result.json").write_text(json.dumps([1]))
    assert "not a circuitkit result" in message(run)


def test_shards_appear_whole_and_go_with_the_run(tmp_path):
    out = tmp_path / "run"
    store = ShardStore(partial_folder(out), "key")
    assert store.load("0") is None
    store.save("0", TENSORS)
    assert torch.equal(store.load("0")["clean"], TENSORS["clean"])
    assert ShardStore(partial_folder(out), "other").load("0") is None
    (store.path / "1.safetensors").write_bytes(b"half")
    with pytest.raises(ResultError, match="Delete it and run again"):
        store.load("1")
    drop_partial(out)
    assert not list(tmp_path.iterdir())
