#!/usr/bin/env python3
"""Pickles of two rows and two labels, as numpy writes them in every protocol that is read (numpy alone is needed).

    python3 testdata/pickles.py crates/selfie-data/tests/pickles
"""
import pathlib, pickle, sys
import numpy as np

out = pathlib.Path(sys.argv[1])
# Every byte from 120 to 143: some are two bytes long in UTF-8, which protocol 2 uses.
data = np.arange(120, 144, dtype=np.uint8).reshape(2, 12)
for protocol in range(2, 6):
    record = {"data": data, "labels": [1, 1000], "mean": data.mean(0)}
    (out / f"list-{protocol}.pkl").write_bytes(pickle.dumps(record, protocol=protocol))
    record = {b"data": data, b"labels": np.array([1, 1000])}
    (out / f"array-{protocol}.pkl").write_bytes(pickle.dumps(record, protocol=protocol))
    record = {"data": data, "labels": [np.int64(1), np.int64(1000)]}
    (out / f"scalar-{protocol}.pkl").write_bytes(pickle.dumps(record, protocol=protocol))
np.savez(out / "stored.npz", data=data, labels=np.array([1, 1000]))
np.savez_compressed(out / "deflated.npz", data=data, labels=np.array([1, 1000], dtype=np.int32), mean=data.mean(0))
