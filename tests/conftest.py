"""Fixtures that every part's tests share."""

import os
from collections.abc import Mapping
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
if "PYTEST_XDIST_WORKER" in os.environ:  # two files run side by side: what they start shall not take every core either
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tiny_models import D_MODEL, FAMILIES, build_raw, build_tokenizer, save
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuitkit.models.hooked_model import HookedModel
from circuitkit.models.loading import wrap_model

torch.set_num_threads(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where everything is at hand, a skipped test is a failed gate."""
    parser.addoption("--require-all", action="store_true", help="fail if a test that could run was skipped")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under --require-all only tests that need a GPU may be skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not session.config.getoption("--require-all") or reporter is None:
        return
    if skipped := [r for r in reporter.stats.get("skipped", []) if "gpu" not in r.keywords]:
        reporter.write_line(f"--require-all: {len(skipped)} skipped: {', '.join(r.nodeid for r in skipped)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def tiny_tokenizers() -> Mapping[str, PreTrainedTokenizerFast]:
    """family -> tokenizer; BERT and DistilBERT share one."""
    wordpiece = build_tokenizer("bert")
    return {
        "gpt2": build_tokenizer("gpt2"),
        "bert": wordpiece,
        "distilbert": wordpiece,
        "llama": build_tokenizer("llama"),
    }


@pytest.fixture(scope="session")
def tiny_models(tiny_tokenizers: Mapping[str, PreTrainedTokenizerFast]) -> Mapping[str, HookedModel]:
    """family -> tiny random model; shared by all tests, so never changed in place."""
    return {
        family: wrap_model(
            build_raw(family, vocab_size=len(tiny_tokenizers[family])),
            tiny_tokenizers[family],
            name=f"tiny-{family}",
        )
        for family in FAMILIES
    }


@pytest.fixture(params=FAMILIES)
def tiny_model(request: pytest.FixtureRequest, tiny_models: Mapping[str, HookedModel]) -> HookedModel:
    """Each of the four tiny models in turn."""
    return tiny_models[request.param]


@pytest.fixture(params=FAMILIES)
def fresh_raw(
    request: pytest.FixtureRequest, tiny_tokenizers: Mapping[str, PreTrainedTokenizerFast]
) -> PreTrainedModel:
    """Each of the four families' raw model in turn, built anew: may be changed."""
    return build_raw(request.param, vocab_size=len(tiny_tokenizers[request.param]))


@pytest.fixture(scope="session")
def tiny_dirs(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizers: Mapping[str, PreTrainedTokenizerFast]
) -> Mapping[str, Path]:
    """family -> saved directory with the same weights as in `tiny_models`; read only."""
    root = tmp_path_factory.mktemp("tiny")
    return {
        family: save(
            build_raw(family, vocab_size=len(tiny_tokenizers[family])),
            tiny_tokenizers[family],
            root / f"tiny-{family}",
        )
        for family in FAMILIES
    }


@pytest.fixture(scope="session")
def real_model_dir() -> Path:
    """Directory of the pretrained checkpoint; skips where there is none."""
    return _folder_from("CIRCUITKIT_REAL_MODEL")


@pytest.fixture(scope="session")
def public_data() -> Path:
    """Directory of the public data files; skips where there is none."""
    return _folder_from("CIRCUITKIT_PUBLIC_DATA")


def _folder_from(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"{variable}={value} is no directory")
    return folder


@pytest.fixture(scope="session")
def wide_dir(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizers: Mapping[str, PreTrainedTokenizerFast]) -> Path:
    """A GPT-2 twice as wide as the tiny one."""
    tokenizer = tiny_tokenizers["gpt2"]
    raw = build_raw("gpt2", vocab_size=len(tokenizer), n_layers=2, d_model=2 * D_MODEL)
    return save(raw, tokenizer, tmp_path_factory.mktemp("wide") / "wide-gpt2")
