#!/usr/bin/env python3
"""Parquet files as the Hugging Face hub keeps image sets, written by its own library and by pyarrow.

    python3 -m venv target/python && target/python/bin/pip install datasets pyarrow pillow
    target/python/bin/python testdata/parquet.py crates/selfie-data/tests/parquet

Every image is 8 × 8, its pixel at (y, x) is (y, x, 10 × row); labels count 0, 1, 2, 0, 1, …
"""
import io, pathlib, sys
import numpy as np
import pyarrow as pa, pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Picture

out = pathlib.Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
N_ROWS = 7


def png(row):
    y, x = np.mgrid[0:8, 0:8].astype(np.uint8)
    file = io.BytesIO()
    Picture.fromarray(np.stack([y, x, np.full_like(y, 10 * row)], axis=-1)).save(file, "PNG")
    return file.getvalue()


images = [{"bytes": png(row), "path": f"{row}.png"} for row in range(N_ROWS)]
labels = [row % 3 for row in range(N_ROWS)]
features = Features({"image": Image(), "label": ClassLabel(names=["cat", "dog", "eel"])})
Dataset.from_dict({"image": images, "label": labels}, features=features).to_parquet(out / "hub.parquet", batch_size=4)

struct = pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
table = pa.table({"coarse_label": pa.array(labels), "img": struct, "fine_label": pa.array(labels, pa.int32())})
pq.write_table(table, out / "dictionary.parquet", compression="none", data_page_version="2.0", row_group_size=5)
pq.write_table(table, out / "no-dictionary.parquet", use_dictionary=False, data_page_size=200, write_batch_size=1)
missing = pa.array([images[0], None, {"bytes": None, "path": "x"}, images[3]], struct.type)
pq.write_table(pa.table({"image": missing}), out / "missing.parquet")
pq.write_table(table, out / "zstd.parquet", compression="zstd")
pq.write_table(table, out / "delta.parquet", use_dictionary=False, column_encoding={"img.bytes": "DELTA_LENGTH_BYTE_ARRAY"})
for path in sorted(out.iterdir()):
    print(path, path.stat().st_size)
