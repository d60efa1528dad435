"""What scikit-learn makes of small embeddings: accuracies of nearest neighbours, the optimum of logistic regression.

  python testdata/probes.py --out crates/selfie-eval/tests/golden/probes.json

Rows come from a seed: three classes whose means are a little apart, so that neither probe is perfect. Needs numpy and
scikit-learn.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

N_TRAIN, N_TEST, WIDTH, N_CLASSES = 120, 60, 6, 3
KS = [1, 3, 10, 50]
TEMPERATURE = 0.07
L2 = 1e-2


def draw(rng, means, n):
    labels = rng.integers(0, N_CLASSES, n)
    rows = means[labels] + rng.normal(size=(n, WIDTH)) * np.array([1, 1, 1, 1, 3, 0.2])
    # What is stored is what is used.
    return np.round(rows, 4).astype(np.float32), labels


def neighbours(train, train_labels, test, test_labels, k):
    votes = lambda distances: np.exp((1 - distances) / TEMPERATURE)
    classifier = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=votes)
    return float(classifier.fit(train, train_labels).score(test, test_labels))


def leave_one_out(rows, labels, k):
    rest = lambda i: np.arange(len(rows)) != i
    hits = [neighbours(rows[rest(i)], labels[rest(i)], rows[i : i + 1], labels[i : i + 1], k) for i in range(len(rows))]
    return float(np.mean(hits))


def regression(train, train_labels, test, test_labels):
    """The optimum on standardised rows over √D; C is 1 / (n · λ)."""
    mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    features = lambda rows: (rows - mean) / std / np.sqrt(WIDTH)
    fit = LogisticRegression(C=1 / (len(train) * L2), tol=1e-10, max_iter=10_000).fit(features(train), train_labels)
    probs = fit.predict_proba(features(train))
    loss = -np.log(probs[np.arange(len(train)), train_labels]).mean()
    return {
        "l2": L2,
        "objective": float(loss + L2 / 2 * (fit.coef_**2).sum()),
        "accuracy": float(fit.score(features(test), test_labels)),
        "cross_entropy": float(-np.log(fit.predict_proba(features(test))[np.arange(len(test)), test_labels]).mean()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    rng = np.random.default_rng(7)
    means = rng.normal(size=(N_CLASSES, WIDTH)) * 0.9
    train, train_labels = draw(rng, means, N_TRAIN)
    test, test_labels = draw(rng, means, N_TEST)
    listed = lambda rows: [[float(f"{value:.4f}") for value in row] for row in rows]
    golden = {
        "train": {"rows": listed(train), "labels": train_labels.tolist()},
        "test": {"rows": listed(test), "labels": test_labels.tolist()},
        "knn": [{"k": k, "held_out": neighbours(train, train_labels, test, test_labels, k)} for k in KS],
        "leave_one_out": [{"k": k, "accuracy": leave_one_out(train, train_labels, k)} for k in KS],
        "regression": regression(train, train_labels, test, test_labels),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
