"""RecBole's full-sort evaluation of USERS users on ITEMS items, as the yardstick of our ranking: prints one JSON line.

    python3 tests/peers/recbole_evaluation.py USERS ITEMS [--kind general|sequential] [--batch USERS] [--times N]
                                              [--threads N]                   (torch and what recbole_names.py says)

Every user has 11 random interactions: nine for training, one for validation, and the last is the target of the test.
The model is one matrix product of random users [users, 64] and items [64, items], so that what is timed is evaluation:
`Trainer.evaluate` as it is, that is the loader's batches, the product, masking, top 10, collecting and the metrics
hit, ndcg and mrr @10 with their means. Reading, splitting and making the loader are not in it: they are `prepared`.

- general: the ten items of the history are masked. RecBole's default of 4096 scores at a time is then one user at a
  time; --batch sets how many.
- sequential: RecBole never masks for sequential models, and takes 4096 users at a time unless --batch says otherwise.

`wall_s` and `cpu_s` (of all threads) are medians of --times evaluations; the first one counts, too.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import epochs  # first: it starts the clock
import atomic
import recbole_names  # noqa: F401
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.abstract_recommender import GeneralRecommender, SequentialRecommender
from recbole.trainer import Trainer
from recbole.utils import InputType, init_seed

HISTORY, WIDTH = 10, 64
SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
    "train_neg_sample_args": None,
    "metrics": ["Hit", "NDCG", "MRR"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 9,
    "use_gpu": False,
    "show_progress": False,
}


def write(folder: Path, users: int, items: int) -> None:
    random.seed(1)
    draw = {f"u{user}": [f"i{item}" for item in random.sample(range(items), HISTORY + 1)] for user in range(users)}
    atomic.write(draw, folder, "random")
    catalogue = "\n".join(["item_id:token"] + [f"i{item}" for item in range(items)])
    (folder / "random" / "random.item").write_text(catalogue + "\n")


def model_of(kind: type) -> type:
    class Product(kind):
        input_type = InputType.POINTWISE

        def __init__(self, config, dataset):
            super().__init__(config, dataset)
            self.users = torch.nn.Parameter(torch.randn(dataset.user_num, WIDTH))
            self.items = torch.nn.Parameter(torch.randn(WIDTH, dataset.item_num))

        def full_sort_predict(self, interaction):
            return self.users[interaction["user_id"]] @ self.items

    return Product


def evaluations(folder: Path, given) -> tuple:
    """The loader, the time that each evaluation took, the metrics, and what it took to get so far."""
    write(folder, given.users, given.items)
    general = given.kind == "general"
    settings = SETTINGS | {"data_path": str(folder), "repeatable": not general}
    if given.batch:
        settings["eval_batch_size"] = given.batch * (given.items + 1 if general else 1)
    kind = model_of(GeneralRecommender if general else SequentialRecommender)
    config = Config(model=kind, dataset="random", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, kind(config, train.dataset))
    prepared = epochs.since(epochs.STARTED) | {"peak_memory_mb": epochs.peak_memory_mb()}
    taken = []
    for _ in range(given.times):
        start = epochs.now()
        result = trainer.evaluate(test, load_best_model=False)
        taken.append(epochs.since(start))
    return test, taken, result, prepared


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("users", type=int)
    parser.add_argument("items", type=int)
    parser.add_argument("--kind", choices=["general", "sequential"], default="general")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    del sys.argv[1:]  # RecBole would read them
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole leaves folders where it runs
        loader, taken, metrics, prepared = evaluations(Path(folder), given)
    report = {
        "program": f"recbole {given.kind}",
        "users": given.users,
        "items": given.items,
        "users_at_a_time": loader.step,
        "wall_s": statistics.median(row["wall_s"] for row in taken),
        "cpu_s": statistics.median(row["cpu_s"] for row in taken),
        "metrics": {name: float(value) for name, value in metrics.items()},
        "prepared": prepared,  # the libraries loaded, the data written, read and split, the loaders made
        "peak_memory_mb": epochs.peak_memory_mb(),
        "times": given.times,
        "threads": given.threads,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ["recbole", "torch", "numpy", "pandas"]},
    }
    print(json.dumps(report))


main()
