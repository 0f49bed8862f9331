"""Kills `ablate run` and all its workers again and again, and looks whether the store lost anything.

    python3 tests/peers/kills.py ABLATE [KILLS [JOBS]]

Runs a grid of cheap experiments on one store, kills the process group at a random moment, and starts the same command
again; a run counts as acknowledged once the program has said that it is made. Afterwards every acknowledged run must be
there, `ablate verify` sound without any repair, and the same command must finish the rest.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ablate = str(Path(sys.argv[1]).resolve())
kills = int(sys.argv[2]) if len(sys.argv) > 2 else 200
jobs = sys.argv[3] if len(sys.argv) > 3 else "4"
folder = Path(tempfile.mkdtemp())
spec = folder / "many.toml"
spec.write_text(f"""
name = "many"
seeds = {list(range(1, 401))}
[dataset]
use = "world"
users = 30
items = 40
min_interactions = 5
max_interactions = 15
[recommender]
use = "random"
[[ablation]]
name = "popularity"
use.recommender = "popularity"
[[ablation]]
name = "markov"
use.recommender = "markov"
[[ablation]]
name = "oracle"
use.recommender = "oracle"
""")
common = [ablate, "--store", str(folder / "store"), "--cache", str(folder / "cache")]


def said(text):
    """The ids of the runs that the program said are made."""
    lines = [line.split() for line in text.splitlines() if "made run" in line]
    return {words[words.index("run") + 1] for words in lines}


acknowledged = set()
generator = random.Random(1)
done = 0
for _ in range(kills):
    output = folder / "output"
    with output.open("w") as file:
        child = subprocess.Popen(
            [*common, "run", str(spec), "--jobs", jobs], stdout=file, stderr=file, start_new_session=True
        )
        time.sleep(generator.uniform(0.05, 1.2))
        finished = child.poll() is not None
        os.killpg(child.pid, signal.SIGKILL) if not finished else None
        child.wait()
    acknowledged |= said(output.read_text())
    if finished:
        if child.returncode:
            sys.exit(f"the command failed by itself: {output.read_text()[-500:]}")
        break
    done += 1

listed = {run["run"] for run in json.loads(subprocess.check_output([*common, "list", "--json"]))}
lost = [run for run in acknowledged if not any(id.startswith(run) for id in listed)]
verified = subprocess.run([*common, "verify"], capture_output=True, text=True)
rest = subprocess.run([*common, "run", str(spec), "--jobs", jobs], capture_output=True, text=True)
listed = json.loads(subprocess.check_output([*common, "list", "--json"]))
print(f"{done} kills, {len(acknowledged)} runs acknowledged, {len(lost)} lost")
print(f"verify: {verified.stdout.strip().splitlines()[-1]}")
print(f"afterwards: {len(listed)} of 1600 runs")
sys.exit(bool(lost) or verified.returncode or rest.returncode or len(listed) != 1600)
