"""Fingerprints inside a saved alignment: its JSON block and tensors, written and read back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from circuitkit.alignment.fingerprint_beside import patched_runs
from circuitkit.alignment.fingerprint_result import FORMS, FingerprintNull, FingerprintResult, FingerprintScore
from circuitkit.alignment.fingerprint_screen import FingerprintScreen
from circuitkit.alignment.fingerprint_sweep import Fingerprints
from circuitkit.core.component import Component
from circuitkit.models.info import ModelInfo

_SIDES = ("teacher", "student")
_PREFIX = "fingerprint."
_SAID_ALREADY = ("schema", *_SIDES, "command", "device", "dtype", "versions")


def to_block(found: FingerprintResult, *, reading: str) -> dict[str, Any]:
    """The block `fingerprint` of `circuitkit.alignment/1`: without what the alignment says of models and versions.

    Args:
        found: The comparison.
        reading: What A and F mean beside each other.
    """
    block = {key: value for key, value in found.to_dict().items() if key not in _SAID_ALREADY}
    return {
        **block,
        "task": {key: value for key, value in found.task.items() if key != "dropped"},
        "reading": reading,
        "dropped": found.task["dropped"],
        "patched_runs_at_most": patched_runs(found),
        "prompt_index": list(found.teacher.prompt_index),
    }


def block_tensors(found: FingerprintResult) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
    """The per-prompt effects under names of their own, and the names of their axes."""
    tensors, axes = found.tensors()
    return {_PREFIX + k: v for k, v in tensors.items()}, {_PREFIX + k: v for k, v in axes.items()}


def from_block(result: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FingerprintResult | None:
    """Read back what was written; None where an alignment has no fingerprints.

    Args:
        result: What `result.json` of the alignment holds.
        tensors: Its tensors.
    """
    block = result.get("fingerprint")
    if block is None:
        return None
    teacher, student = (_fingerprints(block, tensors, side) for side in _SIDES)
    screens = [_screen(block["screen"], side) for side in _SIDES]
    return FingerprintResult(
        models=(ModelInfo(**result["teacher"]), ModelInfo(**result["student"])),
        teacher=teacher,
        student=student,
        scores={form: FingerprintScore(score=block[form]["score"], ci95=_pair(block[form]["ci95"])) for form in FORMS},
        noise=block["noise"],
        nulls={name: _null(null) for name, null in block["nulls"].items()},
        screens=(screens[0], screens[1]),
        task={**block["task"], "dropped": block["dropped"]},
        settings=block["settings"],
        made_with={key: result[key] for key in ("command", "device", "dtype", "versions")},
        notices=tuple(block["notices"]),
    )


def _fingerprints(block: Mapping[str, Any], tensors: Mapping[str, Tensor], side: str) -> Fingerprints:
    return Fingerprints(
        components=tuple(Component.parse(name) for name in block["fingerprints"][side]),
        kinds=tuple(block["kinds"]),
        groups=tuple(block["groups"]),
        effects=tensors[f"{_PREFIX}{side}.effects"],
        clean=tensors[f"{_PREFIX}{side}.clean"],
        prompt_index=tuple(block["prompt_index"]),
    )


def _null(record: Mapping[str, Any]) -> FingerprintNull:
    return FingerprintNull(mean=record["mean"], ci95=_pair(record["ci95"]), p=record["p"], n=record["n"])


def _screen(record: Mapping[str, Any] | None, side: str) -> FingerprintScreen | None:
    if record is None:
        return None
    own = dict(record[side])
    own.pop("share_left_out")
    return FingerprintScreen(n_audited=own.pop("n_audited_prompts"), **own)


def _pair(bounds: list[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (bounds[0], bounds[1])
