"""Write the embedded models' directories: half-precision weights, tokenizer, inheritance, figures and card."""

import copy
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from circuitkit.experiments.embedded.evaluate import Figures

TaskFigures = Mapping[str, Mapping[str, Figures | None]]


def round_to_half(model: PreTrainedModel) -> None:
    """Round the weights to what float16 can hold, in place; they stay float32."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(torch.float16))


def save_model(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write weights in float16, with a configuration that asks to read them as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    half = copy.deepcopy(model)
    cast(nn.Module, half).to(torch.float16)  # transformers' own signature of `to` hides torch's
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes files that only their owner can read
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _write_json(folder / "config.json", config | {"dtype": "float32"})
    (folder / "generation_config.json").unlink(missing_ok=True)


def save_inheritance(folder: Path, teacher: str, teacher_sha256: str, layers: tuple[int, ...]) -> None:
    """Write which of the teacher's layers each layer of the student started from, and which weights those were."""
    _write_json(
        folder / "circuitkit_inheritance.json",
        {
            "teacher": teacher,
            "teacher_sha256": teacher_sha256,
            "layers": {str(student): layer for student, layer in enumerate(layers)},
        },
    )


def save_evaluation(folder: Path, figures: TaskFigures, initial: TaskFigures | None) -> None:
    """Write the figures; for a student also those that it had before distillation."""
    _write_json(
        folder / "evaluation.json", {"tasks": _plain(figures)} | ({"initial": _plain(initial)} if initial else {})
    )


def _plain(figures: TaskFigures) -> dict[str, Any]:
    return {
        task: {prompts: None if found is None else asdict(found) for prompts, found in sets.items()}
        for task, sets in figures.items()
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
