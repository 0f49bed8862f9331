"""Makes tests/fixtures/statistics.json: what scipy and statsmodels say of some samples and families of p-values.

    python3 tests/peers/significance.py > tests/fixtures/statistics.json        (scipy, statsmodels)
"""

import json

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

generator = np.random.default_rng(1)


def sample(differences):
    differences = np.asarray(differences, dtype=float)
    flipped = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(2)
    )
    return {
        "differences": differences.tolist(),
        "t": float(stats.ttest_1samp(differences, 0).pvalue),
        "wilcoxon": float(stats.wilcoxon(differences, zero_method="wilcox", correction=False, method="asymptotic").pvalue),
        "effect": float(differences.mean() / differences.std(ddof=1)),
        "randomization": float(flipped.pvalue),
    }


def family(p):
    adjusted = {
        key: multipletests(p, method=method)[1].tolist()
        for key, method in [("holm", "holm"), ("benjamini_hochberg", "fdr_bh")]
    }
    return {"p": list(p), **adjusted}


hits = generator.choice([-1.0, 0.0, 1.0], size=80, p=[0.1, 0.75, 0.15])
samples = [
    sample(generator.normal(0.3, 1, size=25)),
    sample(generator.normal(0.0, 1, size=60)),
    sample(generator.exponential(1, size=40) - 0.8),
    sample(hits),
    sample(np.round(generator.normal(0.2, 0.5, size=50), 1)),
]
families = [
    family(generator.uniform(size=7).tolist()),
    family((generator.uniform(size=12) ** 3).tolist()),
    family([0.04, 0.01, 0.04, 0.001, 0.9]),
    family([0.5]),
]
print(json.dumps({"samples": samples, "families": families}, indent=1))
