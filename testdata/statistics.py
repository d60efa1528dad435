"""What SciPy says of paired samples, for the tests of selfie-eval.

    python testdata/statistics.py crates/selfie-eval/tests/golden/statistics.json

Needs scipy and numpy. The samples are drawn from a fixed seed and rounded to what an accuracy of 10,000 images can be.
"""

import json
import sys

import numpy as np
import scipy
from scipy import stats


def case(treated, control):
    treated, control = np.asarray(treated), np.asarray(control)
    t = stats.ttest_rel(treated, control)
    interval = t.confidence_interval(0.95)
    flips = stats.permutation_test(
        (treated - control,),
        lambda d, axis: np.mean(d, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    return {
        "treated": treated.tolist(),
        "control": control.tolist(),
        "mean": float(np.mean(treated - control)),
        "std": float(np.std(treated - control, ddof=1)),
        "low": float(interval.low),
        "high": float(interval.high),
        "p_value": float(t.pvalue),
        "sign_flip_p_value": float(flips.pvalue),
        "spread_ratio": float(np.std(treated, ddof=1) / np.std(control, ddof=1)),
    }


def main():
    draw = np.random.default_rng(1)
    cases = [case([0.646, 0.644], [0.622, 0.621]), case([0.5, 0.52, 0.48], [0.52, 0.5, 0.49])]
    for n_pairs in (3, 5, 8, 12, 16):
        control = np.round(0.6 + 0.02 * draw.standard_normal(n_pairs), 4)
        treated = np.round(control + 0.01 + 0.015 * draw.standard_normal(n_pairs), 4)
        cases.append(case(treated, control))
    with open(sys.argv[1], "w") as file:
        json.dump({"scipy": scipy.__version__, "cases": cases}, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
