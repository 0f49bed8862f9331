"""SASRec trained in plain PyTorch, as the yardstick of a whole training run: prints one JSON line.

    python3 tests/peers/atomic.py SOURCE FOLDER NAME
    python3 tests/peers/torch_train.py FOLDER NAME [--epochs N] [--attention sdpa|mha] [--seed N] [--threads N]  (torch)

The model, batches, loss and stopping rule are those of experiments/sasrec-movielens-100k.toml, written for speed: the
model of sasrec.py, fused Adam, sequences padded behind their end, where a causal model needs no mask, and only as long
as the longest of the batch; the loss at real places only. Every user's sequence is cut into stretches of 50 to read and
one more to predict, as ours. Of each epoch: wall and CPU seconds of training and validation, and NDCG@10 on validation
(leave-one-out, all items ranked, seen ones too); then the best epoch, the time up to it and the peak memory.
"""

import argparse

import epochs  # first: it starts the clock
import atomic
import sasrec
import torch
from sasrec import BATCH, LENGTH

PATIENCE = 10
CASES = 256  # validation cases at a time, as ours


class Rows:
    """Stretches of items side by side, each padded behind its end."""

    def __init__(self, rows: list[list[int]], padding: int):
        self.lengths = torch.tensor([len(row) for row in rows])
        self.items = torch.full((len(rows), LENGTH + 1), padding)
        for row, items in zip(self.items, rows):
            row[: len(items)] = torch.tensor(items)

    def read(self, chosen: torch.Tensor, ahead: int) -> tuple[torch.Tensor, ...]:
        """Of the `chosen` rows without their last `ahead` items: the histories, their places, their lengths."""
        lengths = self.lengths[chosen] - ahead
        longest = int(lengths.max())
        places = torch.arange(longest) + LENGTH - lengths[:, None]  # the last place is the most recent interaction's
        return self.items[chosen, :longest], places.clamp(max=LENGTH - 1), lengths


def windows(sequence: list[int]) -> list[list[int]]:
    """Stretches that overlap by one item, from the end, so that each interaction but the first is predicted once."""
    return [sequence[max(0, end - LENGTH - 1) : end] for end in range(len(sequence), 1, -LENGTH)]


class Data:
    """Leave-one-out: the last interaction is the test's, the one before it validation's."""

    def __init__(self, sequences: list[list[int]], items: int):
        cut = [sequence for sequence in sequences if len(sequence) > 2]
        learned = [sequence[:-2] if len(sequence) > 2 else sequence for sequence in sequences]
        self.train = Rows([window for sequence in learned for window in windows(sequence)], items)
        self.histories = Rows([sequence[:-2][-LENGTH:] for sequence in cut], items)
        self.targets = torch.tensor([sequence[-2] for sequence in cut])


def train(model, optimizer, data: Data) -> float:
    """One pass over the stretches in random order; the mean loss of its steps."""
    model.train()
    losses = []
    for chosen in torch.randperm(len(data.train.lengths)).split(BATCH):
        histories, places, lengths = data.train.read(chosen, 1)
        real = torch.arange(histories.shape[1]) < lengths[:, None]
        targets = data.train.items[chosen, 1 : histories.shape[1] + 1][real]
        value = sasrec.cross_entropy(model, model(histories, places)[real], targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return sum(losses) / len(losses)


@torch.inference_mode()
def ndcg_at_10(model, data: Data) -> float:
    model.eval()
    total = 0.0
    for chosen in torch.arange(len(data.targets)).split(CASES):
        histories, places, lengths = data.histories.read(chosen, 0)
        states = model(histories, places)[torch.arange(len(chosen)), lengths - 1]
        scores = states @ model.items.weight[:-1].T
        above = (scores > scores.gather(1, data.targets[chosen, None])).sum(1)
        total += torch.where(above < 10, 1 / torch.log2(above + 2.0), 0.0).sum().item()
    return total / len(data.targets)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("name")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--attention", choices=sasrec.ATTENTION, default="sdpa")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    sequences, items = atomic.read(given.folder, given.name)
    data = Data(sequences, items)
    model = sasrec.SasRec(sasrec.ATTENTION[given.attention], items)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    record, best = epochs.Epochs(), None
    while len(record.rows) < given.epochs and len(record.rows) - record.best() < PATIENCE:
        record.begin()
        record.end(train(model, optimizer, data), ndcg_at_10(model, data))
        if record.best() == len(record.rows):
            best = {name: values.clone() for name, values in model.state_dict().items()}
    model.load_state_dict(best)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    record.print("torch", parameters, given.threads, ["torch"])


main()
