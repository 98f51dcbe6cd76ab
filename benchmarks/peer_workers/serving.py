"""The worker's side: build what is measured, then time one method for every line that the parent sends."""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from setting import Setting, load_setting
from torch import Tensor

Method = Callable[[Setting, str], Tensor]
"""From prompts and an ablation (`zero` or `resample`) to what each component adds to the mean logit difference."""

WARM_UP = 4


def serve(build: Callable[[Setting], dict[str, Method]], *, packages: tuple[str, ...]) -> None:
    """Load and warm up untimed, say what can be measured, then answer requests {method, ablation} until none comes."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a package prints must not get among the replies

    def reply(**answer: object) -> None:
        replies.write(json.dumps(answer) + "\n")
        replies.flush()

    torch.set_num_threads(1)
    setting = load_setting(Path(sys.argv[1]))
    methods = build(setting)
    for method in methods.values():
        for ablation in ("zero", "resample"):
            method(setting.first(WARM_UP), ablation)
    reply(methods=list(methods), versions={name: version(name) for name in packages})
    for line in sys.stdin:
        asked = json.loads(line)
        start, cpu_start = time.perf_counter(), time.process_time()
        values = methods[asked["method"]](setting, asked["ablation"])
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        reply(seconds=seconds, cpu_seconds=cpu_seconds, values=values.tolist())
