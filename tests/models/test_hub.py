"""Hub ids: from the cache without a network, and one line when that fails. Nothing here leaves the machine."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from circuitkit.core.errors import ModelError
from circuitkit.models import hub
from circuitkit.models.loading import load_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill(cache, repo, folder):
    home = cache / f"models--{repo.replace('/', '--')}"
    shutil.copytree(folder, home / "snapshots" / COMMIT)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)


def test_cached_repository_loads_offline(cache, tiny_dirs, tiny_models):
    fill(cache, "someone/tiny-llama", tiny_dirs["llama"])
    model = load_model("someone/tiny-llama")
    assert model.info.revision == COMMIT
    assert model.info.name == "someone/tiny-llama"
    assert model.info.weights_sha256 == tiny_models["llama"].info.weights_sha256


def test_cached_repository_loads_when_the_hub_is_down(cache, tiny_dirs, monkeypatch):
    fill(cache, "someone/tiny-llama", tiny_dirs["llama"])
    monkeypatch.setattr(hub, "snapshot_download", offline_then(monkeypatch))
    assert load_model("someone/tiny-llama").info.revision == COMMIT


def offline_then(monkeypatch):
    """The real download, online, against an address where nobody listens."""
    from huggingface_hub import snapshot_download

    def download(repo, **options):
        with monkeypatch.context() as patch:
            patch.setattr(constants, "HF_HUB_OFFLINE", False)
            return snapshot_download(repo, endpoint="http://127.0.0.1:9", **options)

    return download


def test_hub_that_does_not_answer(cache, monkeypatch):
    monkeypatch.setattr(hub, "snapshot_download", offline_then(monkeypatch))
    with pytest.raises(ModelError) as caught:
        load_model("gpt2")
    assert str(caught.value).startswith(
        "Model 'gpt2' not found: no such directory, not in the hub's cache, and the hub cannot be reached"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RepositoryNotFoundError, "no hub repository that you may read; embedded models: toy-gpt2, "),
        (GatedRepoError, "is gated on the hub; accept its licence there and log in with `hf auth login`"),
    ],
)
def test_repository_that_may_not_be_read(error, message, monkeypatch):
    response = httpx.Response(401, request=httpx.Request("GET", "http://localhost"))

    def refuse(*_args, **_options):
        raise error("several\nlines", response=response)

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(ModelError) as caught:
        load_model("someone/unknown")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


class Repository(BaseHTTPRequestHandler):
    """As much of the hub's protocol as one small repository needs."""

    folder = None
    asked = []

    def log_message(self, *args):
        """Be quiet."""

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body):
        files = {path.name: path.read_bytes() for path in sorted(self.folder.iterdir())}
        path = self.path.split("?")[0]
        name = path.rsplit("/", 1)[-1]
        if path.startswith("/api/models/") and "/tree/" in path:
            content = json.dumps(
                [{"type": "file", "path": name, "size": len(data), "oid": name} for name, data in files.items()]
            ).encode()
        elif path.startswith("/api/models/"):
            siblings = [{"rfilename": name} for name in files]
            content = json.dumps({"id": "someone/tiny", "sha": COMMIT, "siblings": siblings}).encode()
        elif name in files:
            content = files[name]
            self.asked.append(name)
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", f'"{name}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def server(tiny_dirs, tmp_path):
    folder = shutil.copytree(tiny_dirs["gpt2"], tmp_path / "repository")
    (folder / "pytorch_model.bin").write_bytes(b"never to be fetched")
    (folder / "model.onnx").write_bytes(b"nor this")
    handler = type("Handler", (Repository,), {"folder": folder, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server, handler
        server.shutdown()


def test_download_fetches_what_is_needed_and_says_nothing(server, cache, tiny_models, monkeypatch, capfd):
    from huggingface_hub import snapshot_download

    http, handler = server
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        hub,
        "snapshot_download",
        lambda repo, **options: snapshot_download(repo, endpoint=f"http://127.0.0.1:{http.server_port}", **options),
    )
    model = load_model("someone/tiny")
    assert model.info.weights_sha256 == tiny_models["gpt2"].info.weights_sha256
    assert model.info.revision == COMMIT
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(handler.asked)
    assert not {"pytorch_model.bin", "model.onnx"} & set(handler.asked)
    assert capfd.readouterr() == ("", "")
