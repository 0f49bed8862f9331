"""Full-ranking evaluation of ours and RecBole in turns; prints a Markdown table.

    python3 tests/peers/full_ranking.py ABLATE [USERS] [ITEMS] [--rounds N] [--batch USERS] [--threads N]
                                                                          (torch; and what recbole_names.py says)

ABLATE is our program, built; 20,000 users and 20,000 items are the default. Ours is a whole process that only has to
evaluate (`ablate run --fresh evaluator`): it also starts, reads the data, divides it, loads a checkpoint of 64 factors a
user and item, writes the scores of each user, and makes bootstrap intervals. RecBole's time is that of its own
`Trainer.evaluate` alone, with a model of the same size that multiplies the same matrices, once as it comes (one user at
a time) and once with --batch users at a time; its memory is that of the process. Both mask about ten items of history,
rank all others, and give HR, NDCG and MRR at 10. See recbole_evaluation.py for what is left out there.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
SPEC = """
name = "full-ranking"
controls = false

[dataset]
use = "table"
folder = "drawn"
items = false

[protocol]
k_core = 0

[recommender]
use = "bpr_mf"
training = { max_epochs = 0 }

[evaluator]
metrics = ["hr@10", "ndcg@10", "mrr@10"]
"""


def drawn(folder: Path, users: int, items: int) -> None:
    """Interactions of `users` with ten to fourteen items each; every item is met."""
    rng = random.Random(1)
    with open(folder / "interactions.csv", "w") as out:
        out.write("user_id,item_id,timestamp\n")
        met = 0
        for user in range(users):
            for place in range(rng.randint(10, 14)):
                item = met if met < items else rng.randrange(items)
                met += 1
                out.write(f"{user},{item},{place}\n")


def used(command: list[str], **environment: str) -> dict[str, float]:
    """Wall and CPU seconds and peak memory of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ | environment)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{command} failed")
    wall, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    return {"wall": wall, "cpu": cpu, "memory": usage.ru_maxrss / 1024}


def recbole(users: int, items: int, batch: int | None, threads: int) -> dict[str, float]:
    """What recbole_evaluation.py says of one evaluation."""
    command = [sys.executable, str(HERE / "recbole_evaluation.py"), str(users), str(items), "--times", "1"]
    command += ["--threads", str(threads)] + (["--batch", str(batch)] if batch else [])
    said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return {"wall": said["wall_s"], "cpu": said["cpu_s"], "memory": said["peak_memory_mb"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablate")
    parser.add_argument("users", type=int, nargs="?", default=20_000)
    parser.add_argument("items", type=int, nargs="?", default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: args.threads]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "cache" / "drawn").mkdir(parents=True)
        drawn(folder / "cache" / "drawn", args.users, args.items)
        (folder / "spec.toml").write_text(SPEC)
        places = {"ABLATE_STORE": str(folder / "store"), "ABLATE_CACHE": str(folder / "cache")}
        ours = [args.ablate, "run", str(folder / "spec.toml")]
        used(ours, **places)
        programs = {
            "ours, the whole process": lambda: used([*ours, "--fresh", "evaluator"], **places),
            "RecBole, one user at a time": lambda: recbole(args.users, args.items, None, args.threads),
            f"RecBole, {args.batch} users at a time": lambda: recbole(args.users, args.items, args.batch, args.threads),
        }
        results: dict[str, list[dict[str, float]]] = {name: [] for name in programs}
        for _ in range(args.rounds):
            for name, program in programs.items():
                results[name].append(program())
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in results.items()
    }
    first = next(iter(medians.values()))
    print(f"{args.users} users, {args.items} items, medians of {args.rounds} rounds, {args.threads} threads\n")
    print("| program | wall, s | CPU, s | peak, MiB | ours / it: wall | CPU | memory |\n|---|---|---|---|---|---|---|")
    for name, row in medians.items():
        ratios = " | ".join(f"{first[key] / row[key]:.2f}" for key in ("wall", "cpu", "memory"))
        print(f"| {name} | {row['wall']:.2f} | {row['cpu']:.2f} | {row['memory']:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
