"""The worker's side: build what is measured, then time one method for every line that the parent sends."""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from setting import Setting, load_setting
from torch import Tensor

Method = Callable[..., Tensor]
"""From prompts and options to numbers. For sweeps: from an `ablation` (`zero` or `resample`) to what each component
adds to the mean logit difference."""

WARM_UP = 4
ABLATIONS = ({"ablation": "zero"}, {"ablation": "resample"})


def serve(
    build: Callable[[Setting], dict[str, Method]],
    *,
    packages: tuple[str, ...],
    warm_up: Sequence[dict[str, Any]] = ABLATIONS,
) -> None:
    """Load and warm up untimed, say what can be measured, then answer requests {method, options} until none comes.

    Every method is warmed up on a few prompts, once with each set of options in `warm_up`.
    """
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a package prints must not get among the replies

    def reply(**answer: object) -> None:
        replies.write(json.dumps(answer) + "\n")
        replies.flush()

    torch.set_num_threads(1)
    setting = load_setting(Path(sys.argv[1]))
    methods = build(setting)
    for method in methods.values():
        for options in warm_up:
            method(setting.first(WARM_UP), **options)
    reply(methods=list(methods), versions={name: version(name) for name in packages})
    for line in sys.stdin:
        asked = json.loads(line)
        start, cpu_start = time.perf_counter(), time.process_time()
        values = methods[asked.pop("method")](setting, **asked)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        reply(seconds=seconds, cpu_seconds=cpu_seconds, values=values.tolist())
