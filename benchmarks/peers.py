"""Time the exact sweep beside the packages that people use for the same numbers, in one run, one thread each.

    python benchmarks/peers.py --auto-circuit PYTHON --eap-ig PYTHON

PYTHON is the interpreter of an environment in which the peer is installed. The model is a 6-layer GPT-2 of 8 heads,
width 256 and vocabulary 5000 with random weights (54 components); the work is the effect on the logit difference of
ablating each component on 128 prompts of 24 tokens, to zero and by the activation on a partner prompt. Every way is
loaded and warmed up untimed in a process of its own; then all take turns. A peer that does not start is named with
its reason and left out. CPU seconds are there for machines that are not idle. The largest difference is in logits, of a
component's mean effect; r is Pearson's correlation with the sweep. Every package runs unmodified, 32 prompts at a time.

How the environments were made (Python 3.11; both peers need the HookedTransformer that transformer-lens 4 removed):

    python -m venv auto-circuit
    auto-circuit/bin/pip install torch==2.13.0
    auto-circuit/bin/pip install torch==2.13.0 auto-circuit==1.0.1 "transformer-lens<3" attrs "pyarrow<24"

auto-circuit 1.0.1 imports names that transformer-lens 3 moved, and `attrs`, which it does not ask for; its numpy is
below 2, for which recent pyarrow is not built. EAP-IG is installed as its authors' repository, hannamw/EAP-IG, says,
with torch==2.13.0 and "transformer-lens<4".

Not here: the package that the Python index calls `circuitkit` (0.2.0). Its licence, LSAL 1.2, section 1A, wants an
organisation's written acknowledgement, or its authors' permission, before the package is benchmarked.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import IO, Any

import torch
from peer_workers.setting import D_MODEL, HEADS, LENGTH, N_HEADS, N_LAYERS, ROWS, VOCAB
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

FOLDER = Path(__file__).parent / "peer_workers"
OURS = "sweep (ours)"
ABLATIONS = ("zero", "resample")


def make_setting(folder: Path, *, n_prompts: int, seed: int) -> None:
    """Write a GPT-2 with random weights, a tokenizer of one word a token, and random prompts.

    The weights are three times as wide as GPT-2's own start, so that attention is not flat and an approximation has
    something to get wrong.
    """
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=N_LAYERS,
        n_head=N_HEADS,
        n_embd=D_MODEL,
        vocab_size=VOCAB,
        n_positions=64,
        initializer_range=0.06,
        bos_token_id=0,
        eos_token_id=0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    start = "<|endoftext|>"
    words = Tokenizer(models.WordLevel({start: 0} | {f"w{i}": i for i in range(1, VOCAB)}, unk_token=start))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token=start, eos_token=start, unk_token=start, pad_token=start
    ).save_pretrained(folder)
    clean, corrupted = torch.randint(1, VOCAB, (2, n_prompts, LENGTH)).unbind()
    clean[:, 0] = corrupted[:, 0] = 0
    answers = torch.stack([torch.randperm(VOCAB)[:2] for _ in range(n_prompts)])
    tensors = {"clean": clean, "corrupted": corrupted, "answers": answers}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "prompts.safetensors")


@dataclass
class Worker:
    """A process that measures one package; `problem` says why it does not."""

    name: str
    process: subprocess.Popen[str]
    errors: IO[bytes]
    methods: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    problem: str | None = None

    def ask(self, **request: object) -> dict[str, Any]:
        """Send a request, if any, and wait for the answer; {} if the worker has died."""
        assert self.process.stdin
        assert self.process.stdout
        if request:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        if line := self.process.stdout.readline():
            return json.loads(line)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        self.problem = said[-1] if said else f"exit status {self.process.wait()}"
        return {}


def start(name: str, python: str, setting: Path) -> Worker:
    """Start a worker and wait until it has loaded and warmed up."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen(
        [python, str(FOLDER / f"run_{name}.py"), str(setting)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **threads, "HF_HUB_OFFLINE": "1"},
    )
    worker = Worker(name, process, errors)
    ready = worker.ask()
    worker.methods, worker.versions = ready.get("methods", []), ready.get("versions", {})
    return worker


def correlation(x: torch.Tensor, y: torch.Tensor) -> float:
    """Pearson's r."""
    return torch.corrcoef(torch.stack([x, y]))[0, 1].item()


def summarise(answers: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row a method: medians, ratios to ours of the same turn, and how its numbers differ from ours."""
    ours, rows = torch.tensor(answers[OURS][-1]["values"]), []
    for method, turns in answers.items():
        other = torch.tensor(turns[-1]["values"])
        row: dict[str, Any] = {"method": method}
        for clock in ("seconds", "cpu_seconds"):
            row[clock] = statistics.median(turn[clock] for turn in turns)
            ratios = [turn[clock] / own[clock] for turn, own in zip(turns, answers[OURS], strict=True)]
            row[f"{clock}_ratio"] = statistics.median(ratios)
        row["largest_difference"] = (other - ours).abs().max().item()
        row["r_heads"] = correlation(other[: len(HEADS)], ours[: len(HEADS)])
        row["r_mlps"] = correlation(other[len(HEADS) :], ours[len(HEADS) :])
        rows.append(row | {"values": other.tolist()})
    return rows


def measure(workers: list[Worker], ablation: str, repeats: int) -> list[dict[str, Any]]:
    """All methods in turn, `repeats` times."""
    answers: dict[str, list[dict[str, Any]]] = {}
    for _ in range(repeats):
        for worker in workers:
            for method in worker.methods:
                if worker.problem is None and (answer := worker.ask(method=method, ablation=ablation)):
                    answers.setdefault(method, []).append(answer)
                    print(f"{ablation}, {method}: {answer['seconds']:.1f} s", file=sys.stderr)
    return summarise({method: turns for method, turns in answers.items() if len(turns) == repeats})


def main() -> None:
    """Print a table for each ablation and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auto-circuit", metavar="PYTHON", default="")
    parser.add_argument("--eap-ig", metavar="PYTHON", default="")
    parser.add_argument("--ablation", choices=ABLATIONS, action="append", help="both if not given")
    parser.add_argument("--n-prompts", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file to write")
    args = parser.parse_args()
    if args.n_prompts % ROWS:
        parser.error(f"--n-prompts {args.n_prompts} is no multiple of {ROWS}, and peers leave out what fills no batch")
    pythons = {"ours": sys.executable, "auto_circuit": args.auto_circuit, "eap_ig": args.eap_ig}
    with tempfile.TemporaryDirectory() as folder:
        make_setting(Path(folder), n_prompts=args.n_prompts, seed=args.seed)
        workers = [start(name, python, Path(folder)) for name, python in pythons.items() if which(python)]
        if workers[0].problem:
            raise SystemExit(f"Our own worker does not start: {workers[0].problem}")
        tables = {a: measure(workers, a, args.repeats) for a in args.ablation or ABLATIONS}
        for worker in workers:
            worker.process.communicate()
    for ablation, rows in tables.items():
        print(f"\n{ablation:29} seconds  ratio  CPU s  ratio  largest diff  r heads  r MLPs")
        for row in rows:
            wall = f"{row['seconds']:7.1f} {row['seconds_ratio']:6.1f}"
            cpu = f"{row['cpu_seconds']:6.1f} {row['cpu_seconds_ratio']:6.1f}"
            close = f"{row['largest_difference']:13.1e} {row['r_heads']:8.3f} {row['r_mlps']:7.3f}"
            print(f"{row['method']:29} {wall} {cpu} {close}")
    found = {worker.name: worker.problem or worker.versions for worker in workers}
    versions = {name: found.get(name, f"no interpreter {python!r}") for name, python in pythons.items()}
    for name, said in versions.items():
        print(f"{name}: {said}")
    if args.json:
        run = {"n_prompts": args.n_prompts, "repeats": args.repeats, "seed": args.seed, "torch_threads": 1}
        args.json.write_text(json.dumps({**run, "versions": versions, "tables": tables}))


if __name__ == "__main__":
    main()
