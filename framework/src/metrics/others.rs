//! The metrics of RecBole and Elliot: what their code gives where there is one relevant item.
//!
//! Nothing here is a copy of their code. Each formula was derived from theirs by setting the number of relevant items
//! to one, and a test compares it with what their own code says (`tests/peers/metrics.py`). A definition that is equal
//! to one of ours is the same computation under another name.
//!
//! Their lists have an order among equal scores, whichever `torch.topk`, `tf.nn.top_k` or `numpy.argpartition` gave. A
//! metric here is the expectation over all orders, as everywhere; theirs is its value for one of them. RecBole's AUC is
//! missing: it is of all pairs of users and items together, which a rank does not tell.

use super::{Definition, Kind};

pub(super) static DEFINITIONS: [Definition; 20] = [
    Definition {
        name: "hr@k as recbole",
        version: 1,
        formula: "1 if rank <= k, else 0; equals hr@k",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, Hit",
        kind: Kind::Hit,
    },
    Definition {
        name: "ndcg@k as recbole",
        version: 1,
        formula: "1 / log2(rank + 1) if rank <= k, else 0; equals ndcg@k",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, NDCG",
        kind: Kind::DiscountedGain,
    },
    Definition {
        name: "mrr@k as recbole",
        version: 1,
        formula: "1 / rank if rank <= k, else 0; equals mrr@k",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, MRR",
        kind: Kind::ReciprocalRank,
    },
    Definition {
        name: "recall@k as recbole",
        version: 1,
        formula: "1 if rank <= k, else 0; equals recall@k",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, Recall",
        kind: Kind::Hit,
    },
    Definition {
        name: "precision@k as recbole",
        version: 1,
        formula: "1 / k if rank <= k, else 0; equals precision@k",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, Precision",
        kind: Kind::Precision,
    },
    Definition {
        name: "map@k as recbole",
        version: 1,
        formula: "1 / rank if rank <= k, else 0; equals map@k",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, MAP",
        kind: Kind::ReciprocalRank,
    },
    Definition {
        name: "gauc as recbole",
        version: 1,
        formula: "(candidates - rank) / (candidates - 1), tied items at the mean of their ranks; none with one \
                  candidate; equals auc",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, GAUC",
        kind: Kind::Auc,
    },
    Definition {
        name: "coverage@k as recbole",
        version: 1,
        formula: "distinct items in all users' top-k lists / (items in the catalogue + 1): padding is counted as an \
                  item",
        source: "RecBole 1.2.1, recbole/evaluator/metrics.py, ItemCoverage",
        kind: Kind::PaddedCoverage,
    },
    Definition {
        name: "hr@k as elliot",
        version: 1,
        formula: "1 if rank <= k, else 0; equals hr@k",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/hit_rate/hit_rate.py",
        kind: Kind::Hit,
    },
    Definition {
        name: "ndcg@k as elliot",
        version: 1,
        formula: "1 / log2(rank + 1) if rank <= k, else 0; equals ndcg@k: the gain of a single relevant item cancels \
                  out",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/ndcg/ndcg.py and ndcg_rendle2020.py",
        kind: Kind::DiscountedGain,
    },
    Definition {
        name: "mrr@k as elliot",
        version: 1,
        formula: "1 / rank if rank <= k, else 0; equals mrr@k",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/mrr/mrr.py",
        kind: Kind::ReciprocalRank,
    },
    Definition {
        name: "recall@k as elliot",
        version: 1,
        formula: "1 if rank <= k, else 0; equals recall@k",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/recall/recall.py",
        kind: Kind::Hit,
    },
    Definition {
        name: "precision@k as elliot",
        version: 1,
        formula: "1 / k if rank <= k, else 0; equals precision@k",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/precision/precision.py",
        kind: Kind::Precision,
    },
    Definition {
        name: "map@k as elliot",
        version: 1,
        formula: "the mean of precision@1, precision@2, ..., precision@k: (1/rank + 1/(rank + 1) + ... + 1/k) / k if \
                  rank <= k, else 0",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/map/map.py",
        kind: Kind::MeanPrecision,
    },
    Definition {
        name: "mar@k as elliot",
        version: 1,
        formula: "the mean of recall@1, recall@2, ..., recall@k: (k + 1 - rank) / k if rank <= k, else 0",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/mar/mar.py",
        kind: Kind::MeanRecall,
    },
    Definition {
        name: "f1@k as elliot",
        version: 1,
        formula: "the harmonic mean of precision@k and recall@k: 2 / (k + 1) if rank <= k, else 0",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/f1/f1.py; DSC/dsc.py with its default beta of 1 is \
                 the same",
        kind: Kind::F1,
    },
    Definition {
        name: "auc as elliot",
        version: 1,
        formula: "(candidates + 1 - rank) / candidates: the target counts as one of its own rivals, and is beaten",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/AUC/auc.py",
        kind: Kind::AucAmongCandidates,
    },
    Definition {
        name: "gauc as elliot",
        version: 1,
        formula: "(candidates + 1 - rank) / candidates: the target counts as one of its own rivals, and is beaten",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/AUC/gauc.py",
        kind: Kind::AucAmongCandidates,
    },
    Definition {
        name: "lauc@k as elliot",
        version: 1,
        formula: "(candidates + 1 - rank) / candidates if rank <= k, else 0",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/accuracy/AUC/lauc.py",
        kind: Kind::LimitedAuc,
    },
    Definition {
        name: "coverage@k as elliot",
        version: 1,
        formula: "distinct items in all users' top-k lists: a number of items, not a share",
        source: "Elliot 0.3.1, elliot/evaluation/metrics/coverage/item_coverage/item_coverage.py",
        kind: Kind::DistinctItems,
    },
];
