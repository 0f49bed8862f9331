"""The clock and the record of the peers' training runs: recbole_train.py and torch_train.py print it as one JSON line.

Import it before torch: it starts the clock, and keeps PyTorch's idle threads from spinning. An epoch is training and
validation, without what is saved between epochs, as in our run's record; CPU seconds are of all threads.
"""

import json
import os
import platform
import time
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting threads would count as CPU time, and slow other work down


def now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


STARTED = now()


def since(start: tuple[float, float]) -> dict[str, float]:
    return {"wall_s": round(now()[0] - start[0], 3), "cpu_s": round(now()[1] - start[1], 3)}


def peak_memory_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(status["VmHWM"].split()[0]) / 1024, 1)


class Epochs:
    def __init__(self):
        self.rows, self.prepared, self.begun = [], None, None

    def begin(self) -> None:
        self.prepared = self.prepared or since(STARTED) | {"peak_memory_mb": peak_memory_mb()}
        self.begun = now()

    def end(self, loss: float, validation: float) -> None:
        row = {"epoch": len(self.rows) + 1, **since(self.begun), "loss": loss, "validation": validation}
        self.rows.append(row)

    def best(self) -> int:
        """The epoch with the best validation, counted from 1; the first of equals, as ours; 0 before the first."""
        return max(self.rows, key=lambda row: row["validation"])["epoch"] if self.rows else 0

    def print(self, program: str, parameters: int, threads: int, packages: list[str]) -> None:
        upto = self.rows[: self.best()]
        report = {
            "program": program,
            "parameters": parameters,
            "epochs": self.rows,
            "best_epoch": self.best(),
            "best_validation": upto[-1]["validation"],
            "wall_to_best_s": round(sum(row["wall_s"] for row in upto), 3),
            "cpu_to_best_s": round(sum(row["cpu_s"] for row in upto), 3),
            "prepared": self.prepared,  # the libraries loaded, the data read and split, before the first epoch
            "whole": since(STARTED),
            "peak_memory_mb": peak_memory_mb(),
            "threads": threads,
            "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        }
        print(json.dumps(report))
