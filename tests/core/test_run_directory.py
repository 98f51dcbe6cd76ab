import json
import math

import pytest
import torch

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
