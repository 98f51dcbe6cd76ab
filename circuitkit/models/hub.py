"""Fetch a checkpoint from the Hugging Face hub, or find it in the hub's cache."""

from pathlib import Path

import httpx
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from circuitkit.core.errors import ModelError
from circuitkit.models.embedded import nearest

_DESCRIPTION = [
    "config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.jinja",
    "circuitkit_inheritance.json",
]
_SAFETENSORS = ["model*.safetensors", "model.safetensors.index.json"]
_BIN = ["pytorch_model*.bin", "pytorch_model.bin.index.json"]


def in_cache(repo: str) -> bool:
    """Whether the hub's cache holds weights of a repository; nothing is asked of the network."""
    try:
        folder = Path(snapshot_download(repo, allow_patterns=_DESCRIPTION, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return False
    return (folder / "config.json").exists() and any(
        any(folder.glob(pattern)) for pattern in ("model*.safetensors", "pytorch_model*.bin")
    )


def download(repo: str, *, offline: bool = False) -> tuple[Path, str]:
    """The snapshot's folder and commit; `.bin` weights are fetched only where there are no safetensors.

    Args:
        repo: Hub id.
        offline: Take it from the cache only.

    Raises:
        ModelError: There is no such repository, it may not be read, or the hub cannot be reached and its
            cache does not have it.
    """
    disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        folder = Path(snapshot_download(repo, allow_patterns=_DESCRIPTION + _SAFETENSORS, local_files_only=offline))
        if not any(folder.glob("model*.safetensors")):
            folder = Path(snapshot_download(repo, allow_patterns=_DESCRIPTION + _BIN, local_files_only=offline))
    except GatedRepoError as error:
        raise ModelError(
            f"Model {repo!r} is gated on the hub; accept its licence there and log in with `hf auth login`."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"Model {repo!r} not found: no such directory, and no hub repository that you may read{nearest(repo)}"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError) as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "no answer from it"
        hub = "is not asked here" if offline else f"cannot be reached ({why})"
        raise ModelError(
            f"Model {repo!r} not found: no such directory, not in the hub's cache, and the hub {hub}{nearest(repo)}"
        ) from error
    finally:
        if not disabled:
            enable_progress_bars()
    return folder, folder.name
