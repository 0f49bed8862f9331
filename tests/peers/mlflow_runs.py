"""MLflow beside `ablate bench SPEC --runs N`: fills a store that goes with N runs, then times listing and comparing.

    python3 tests/peers/mlflow_runs.py N        (mlflow)

A run has a name, 2 parameters and 2 metrics, as in our benchmark; the store is files. Prints medians of 5 in seconds.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

runs = int(sys.argv[1])
folder = Path(tempfile.mkdtemp())
client = MlflowClient(tracking_uri=folder.as_uri())
experiment = client.create_experiment("bench")
ids = []
started = time.time()
for n in range(runs):
    run = client.create_run(experiment, run_name=f"run {n}").info.run_id
    metrics = [Metric("hr_at_10", n / runs, 0, 0), Metric("ndcg_at_10", 0.5, 0, 0)]
    client.log_batch(run, metrics=metrics, params=[Param("dataset.use", "world"), Param("recommender.use", "sasrec")])
    client.set_terminated(run)
    ids.append(run)
print(f"fill {runs} runs: {time.time() - started:.1f} s")


def median(work, times=5):
    seconds = []
    for _ in range(times):
        started = time.time()
        work()
        seconds.append(time.time() - started)
    return sorted(seconds)[times // 2]


def list_all():
    found, token = 0, None
    while True:
        page = client.search_runs([experiment], max_results=50000, page_token=token)
        found, token = found + len(page), page.token
        if not token:
            break
    assert found == runs, found


def compare():
    a, b = client.get_run(ids[0]), client.get_run(ids[runs // 2])
    keys = a.data.params.keys() | b.data.params.keys()
    return [key for key in keys if a.data.params.get(key) != b.data.params.get(key)]


print(f"list {runs} runs: {median(list_all):.3f} s")
print(f"compare two: {median(compare):.3f} s")
