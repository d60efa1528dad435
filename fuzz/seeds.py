#!/usr/bin/env python3
"""Makes the seed corpora in fuzz/corpus, a few hundred bytes a file (numpy and pillow are needed).

    python3 fuzz/seeds.py && cargo fuzz run pickle
"""
import io, pathlib, pickle, tarfile
import numpy as np
from PIL import Image

corpus = pathlib.Path(__file__).resolve().parent / "corpus"
data = np.arange(120, 144, dtype=np.uint8).reshape(2, 12)


def save(target, name, content):
    folder = corpus / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def buffer(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


for protocol in range(2, 6):
    save("pickle", f"list-{protocol}", pickle.dumps({"data": data, "labels": [1, 2]}, protocol))
    save("pickle", f"array-{protocol}", pickle.dumps({b"data": data, b"labels": np.array([1, 2])}, protocol))
save("npz", "stored", buffer(lambda file: np.savez(file, data=data, labels=np.array([1, 2]))))
save("npz", "deflated", buffer(lambda file: np.savez_compressed(file, data=data, labels=np.array([1, 2]))))

picture = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
for name in ("PNG", "JPEG", "WEBP", "BMP"):
    save("image", name.lower(), buffer(lambda file: picture.save(file, name)))
save("image", "cmyk", buffer(lambda file: picture.convert("CMYK").save(file, "JPEG")))
save("image", "progressive", buffer(lambda file: picture.save(file, "JPEG", progressive=True)))


def tar(mode, files):
    def write(file):
        with tarfile.open(fileobj=file, mode=mode) as archive:
            for name, content in files:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))

    return buffer(write)


png = buffer(lambda file: picture.save(file, "PNG"))
save("shard", "cls", tar("w", [("0.png", png), ("0.cls", b"3")]))
save("shard", "json", tar("w", [("a/0.png", png), ("a/0.json", b'{"label": "cat"}')]))
record = bytes(3073)
save("cifar", "binary", tar("w:gz", [("cifar-10-batches-bin/test_batch.bin", record)]))
python = pickle.dumps({"data": data, "labels": [1, 2]}, 2)
save("cifar", "python", tar("w:gz", [("cifar-10-batches-py/test_batch", python)]))

# Written by testdata/parquet.py, which needs more packages.
for path in sorted((corpus.parent.parent / "crates/selfie-data/tests/parquet").glob("*.parquet")):
    save("parquet", path.stem, path.read_bytes())
