"""What the hub's cache holds is found without asking the network."""

import shutil

import pytest
from huggingface_hub import snapshot_download

from circuitkit.core.errors import ModelError
from circuitkit.models import hub
from circuitkit.models.hub import in_cache
from circuitkit.models.loading import load_model
from circuitkit.models.sources import looks_like_hub_id

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    def only_here(repo, **options):
        assert options["local_files_only"]
        return snapshot_download(repo, cache_dir=tmp_path, **options)

    monkeypatch.setattr(hub, "snapshot_download", only_here)
    return tmp_path


def put(cache, repo, files):
    folder = cache / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    for file in files:
        shutil.copy(file, snapshot)


def test_a_model_of_the_cache_is_loaded_and_none_is_fetched(cache, tiny_dirs):
    files = list(tiny_dirs["gpt2"].iterdir())
    put(cache, "someone/whole", files)
    put(cache, "someone/without-weights", [f for f in files if f.suffix == ".json"])
    assert in_cache("someone/whole")
    assert not in_cache("someone/without-weights")
    assert not in_cache("someone/absent")
    assert not in_cache("no//id")
    model = load_model("someone/whole", device="cpu", offline=True)
    assert (model.info.name, model.info.revision) == ("someone/whole", COMMIT)
    with pytest.raises(ModelError, match="is not asked here"):
        load_model("someone/absent", offline=True)


def test_names_that_would_be_looked_for_on_the_hub(tmp_path):
    assert looks_like_hub_id("gpt2")
    assert looks_like_hub_id("someone/model")
    assert not looks_like_hub_id("./folder")
    assert not looks_like_hub_id("a/b/c")
    assert not looks_like_hub_id(str(tmp_path))
