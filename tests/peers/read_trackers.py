"""Opens exported runs with MLflow's and TensorBoard's own readers: prints what they found as JSON.

    python3 tests/peers/read_trackers.py MLFLOW_FOLDER TENSORBOARD_FOLDER        (mlflow, tensorboard)

The output is `{"mlflow": {run: {"params": n, "metrics": {name: last value}}}, "tensorboard": {folder: {tag: [values]}}}`.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

client = MlflowClient(tracking_uri=Path(sys.argv[1]).resolve().as_uri())
experiments = [experiment.experiment_id for experiment in client.search_experiments()]
mlflow = {
    run.info.run_id: {"params": len(run.data.params), "metrics": run.data.metrics, "name": run.info.run_name}
    for run in client.search_runs(experiments)
}
tensorboard = {}
root = Path(sys.argv[2])
for events in sorted(root.rglob("events.out.tfevents.*")):
    reader = EventAccumulator(str(events.parent))
    reader.Reload()
    tensorboard[str(events.parent.relative_to(root))] = {
        tag: [point.value for point in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
    }
print(json.dumps({"mlflow": mlflow, "tensorboard": tensorboard}))
