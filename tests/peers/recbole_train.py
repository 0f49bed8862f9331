"""RecBole's SASRec, trained as a user of RecBole would, as the yardstick of a whole training run: prints one JSON line.

    python3 tests/peers/atomic.py SOURCE FOLDER NAME
    python3 tests/peers/recbole_train.py FOLDER NAME [--epochs N] [--batch ROWS] [--seed N] [--threads N]
                                         (torch and what recbole_names.py says)

Of each epoch: wall and CPU seconds of training and validation, and NDCG@10 on validation (leave-one-out, all items
ranked, seen ones too); then the best epoch, the time up to it and the peak memory. The settings are those of
experiments/sasrec-movielens-100k.toml. RecBole's loader, loop, collector and metrics run as they are; no checkpoint,
log, progress bar or count of FLOPs, which `run_recbole` would add. What RecBole does otherwise and cannot be told not
to:

- each prefix of a sequence is a row with one target, padded to 50 items: an epoch predicts the same interactions as
  ours, but runs the transformer once for each of them. --batch is in rows; 128 is the same setting as ours, but its
  step has one target where ours has up to 50. RecBole's own default is 2048: a row costs the same, and an epoch makes
  fewer steps, so 128 is in its favour where time to a level is compared;
- normalization after each part, none before the scores, no dropout between the two feed-forward layers, items'
  embeddings not scaled, initial values with deviation .02, the catalogue has an item more (the padding), which takes
  part in the loss;
- its early stopping takes the last of equal validation scores for the best; the printed best epoch is the first;
- users with three interactions have no validation case, and one training row more than ours.
"""

import argparse
import os
import sys
import tempfile

import epochs  # first: it starts the clock
import recbole_names  # noqa: F401
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

PATIENCE = 10
SETTINGS = {
    "MAX_ITEM_LIST_LENGTH": 50,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_size": 64,
    "inner_size": 64,
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.2,
    "hidden_act": "relu",
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "learning_rate": 1e-3,
    "stopping_step": PATIENCE - 1,  # RecBole stops one epoch after so many without a better one
    "metrics": ["NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "metric_decimal_place": 9,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": "user"},
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "use_gpu": False,
    "show_progress": False,
}


class Timed(Trainer):
    """RecBole's trainer; each epoch's training and validation on the clock."""

    def __init__(self, config, model):
        super().__init__(config, model)
        self.record = epochs.Epochs()

    def _train_epoch(self, train_data, *arguments, **named):
        self.record.begin()
        self.loss = super()._train_epoch(train_data, *arguments, **named) / len(train_data)
        return self.loss

    def _valid_epoch(self, *arguments, **named):
        score, result = super()._valid_epoch(*arguments, **named)
        self.record.end(self.loss, float(score))
        return score, result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    del sys.argv[1:]  # RecBole would take --epochs=2 for a setting of its own
    torch.set_num_threads(given.threads)
    settings = SETTINGS | {
        "data_path": os.path.abspath(given.folder),
        "epochs": given.epochs,
        "train_batch_size": given.batch,
        "seed": given.seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole leaves folders where it runs
        config = Config(model="SASRec", dataset=given.name, config_dict=settings)
        init_seed(config["seed"], config["reproducibility"])
        train, validation, _ = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], config["reproducibility"])
        model = SASRec(config, train.dataset)
        trainer = Timed(config, model)
        trainer.fit(train, validation, verbose=False, saved=False)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    trainer.record.print("recbole", parameters, given.threads, ["recbole", "torch", "numpy", "pandas"])


main()
