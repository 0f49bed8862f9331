"""Whole training runs of ours, plain PyTorch and RecBole on the same data in turns; prints a Markdown table.

    python3 tests/peers/atomic.py SOURCE FOLDER NAME
    python3 tests/peers/training_runs.py ABLATE FOLDER NAME [--rounds N] [--programs ours,torch,recbole] [--epochs N]
                                         [--recbole-epochs N] [--recbole-batch ROWS] [--attention sdpa|mha]
                                         [--level NDCG] [--set KEY=VALUE] [--threads N] [--log FILE]
                                                                          (torch; and what recbole_names.py says)

ABLATE is our program, built. Each round runs all programs one after the other, with the round's number as the seed, on
the first --threads cores; the order turns by one each round. All read FOLDER/NAME/NAME.inter and stop after 10 epochs
without a better validation; --epochs and --recbole-epochs stop them earlier, which a slow peer needs: then compare
times to the level, not whole runs. Python is the one that this runs in.

- epoch: the median of all epochs of all rounds, training and validation. Our CPU seconds of an epoch are those of the
  whole process divided by its epochs, so starting, splitting and testing are counted against us.
- to the level: time until validation NDCG@10 first reaches --level; when not given, .95 of the worst run's best, which
  all reach. Where a run never reaches it, the row has a dash. Only epochs are in it, not what comes before the first.
- whole and peak: of the process, as the system counts them; a peer's libraries are part of it.

--log appends what each run printed or recorded, one JSON line each.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SPEC = """
name = "training"
controls = false

[dataset]
use = "recbole"
name = "{name}"

[protocol]
k_core = 0
mask_seen = false

[recommender]
use = "sasrec"
"""


def run(command: list[str]) -> tuple[str, dict[str, float]]:
    """What `command` prints, and the wall and CPU seconds and peak memory of its process."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        output = process.stdout.read().decode()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)}\n{errors.read().decode()[-4000:]}")
    whole = {"wall_s": round(time.perf_counter() - started, 3), "cpu_s": round(used.ru_utime + used.ru_stime, 3)}
    return output, whole | {"peak_memory_mb": round(used.ru_maxrss / 1024, 1)}


def ours(given, seed: int) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        spec, store = Path(folder) / "training.toml", ["--store", f"{folder}/store"]
        spec.write_text(SPEC.format(name=given.name))
        settings = [f"seeds=[{seed}]", f"recommender.training.max_epochs={given.epochs}", *given.set]
        sets = [word for setting in settings for word in ("--set", setting)]
        cache = ["--cache", str(Path(given.folder).resolve())]
        _, whole = run([given.ablate, "run", str(spec), *store, *cache, *sets])
        record = json.loads(run([given.ablate, "show", "latest", "--json", *store])[0])
    rows = record["epochs"]
    cpu = whole["cpu_s"] / len(rows)
    rows = [{"wall_s": row["seconds"], "cpu_s": cpu, "validation": row["validation"]} for row in rows]
    return {"program": "ours", "epochs": rows, "whole": whole, "run": record["run"]}


def peer(script: str, given, arguments: list) -> dict:
    words = [given.folder, given.name, "--threads", given.threads, *arguments]
    output, whole = run([sys.executable, str(HERE / script), *map(str, words)])
    return json.loads(output.splitlines()[-1]) | {"whole": whole}


def torch(given, seed: int) -> dict:
    return peer("torch_train.py", given, ["--seed", seed, "--epochs", given.epochs, "--attention", given.attention])


def recbole(given, seed: int) -> dict:
    epochs = given.recbole_epochs or given.epochs
    return peer("recbole_train.py", given, ["--seed", seed, "--epochs", epochs, "--batch", given.recbole_batch])


PROGRAMS = {"ours": ours, "torch": torch, "recbole": recbole}


def best(run: dict) -> float:
    return max(row["validation"] for row in run["epochs"])


def reached(run: dict, level: float) -> int | None:
    """The first epoch, counted from 1, whose validation is at least `level`."""
    return next((n for n, row in enumerate(run["epochs"], 1) if row["validation"] >= level), None)


def figures(runs: list[dict], level: float) -> list[float | None]:
    """The medians of one row of the table."""
    rows = [row for run in runs for row in run["epochs"]]
    found = [reached(run, level) for run in runs]

    def median_to(what: str) -> float | None:
        if None in found:
            return None
        return statistics.median(sum(row[what] for row in run["epochs"][:n]) for run, n in zip(runs, found))

    return [
        statistics.median(row["wall_s"] for row in rows),
        statistics.median(row["cpu_s"] for row in rows),
        statistics.median(best(run) for run in runs),
        None if None in found else statistics.median(found),
        median_to("wall_s"),
        median_to("cpu_s"),
        statistics.median(run["whole"]["wall_s"] for run in runs),
        statistics.median(run["whole"]["peak_memory_mb"] for run in runs),
    ]


FORMATS = [".2f", ".2f", ".4f", "g", ".1f", ".1f", ".1f", ".0f"]
HEADER = """
| program | epoch, wall s | epoch, CPU s | best NDCG@10 | epochs to the level | to the level, wall s | CPU s | \
whole run, wall s | peak, MiB |
|---|---|---|---|---|---|---|---|---|"""


def table(runs: dict[str, list[dict]], level: float) -> None:
    print(f"The level is a validation NDCG@10 of {level:.4f}; medians of {len(next(iter(runs.values())))} round(s).")
    print(HEADER)
    found = {name: figures(of, level) for name, of in runs.items()}
    for name, values in found.items():
        cells = ["–" if value is None else format(value, form) for value, form in zip(values, FORMATS)]
        print(f"| {name} | {' | '.join(cells)} |")
    for name in [name for name in found if name != "ours" and "ours" in found]:
        pairs = zip(found["ours"], found[name])
        cells = ["–" if None in pair or not pair[1] else format(pair[0] / pair[1], ".2f") for pair in pairs]
        print(f"| ours / {name} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ablate", type=os.path.abspath)
    parser.add_argument("folder", type=os.path.abspath)
    parser.add_argument("name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--programs", type=lambda text: text.split(","), default=list(PROGRAMS))
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--recbole-epochs", type=int)
    parser.add_argument("--recbole-batch", type=int, default=128)
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--level", type=float)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--log")
    given = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: given.threads])
    runs = {name: [] for name in given.programs}
    for round in range(1, given.rounds + 1):
        turn = round % len(runs)
        for name in [*runs][turn:] + [*runs][:turn]:
            result = PROGRAMS[name](given, round)
            runs[name].append(result)
            print(f"{name}, seed {round}: {len(result['epochs'])} epochs, {result['whole']}", file=sys.stderr)
            if given.log:
                with open(given.log, "a") as log:
                    print(json.dumps({"seed": round} | result), file=log)
    table(runs, given.level or 0.95 * min(best(run) for of in runs.values() for run in of))


main()
