#!/usr/bin/env python3
"""Made the seeds of fuzz/seeds, a few hundred bytes a file (numpy and pillow are needed): `python3 fuzz/seeds.py`.

Those of parquet and config are files that the repository has anyway.
"""
import io, json, pathlib, pickle, tarfile
import numpy as np
from PIL import Image

seeds = pathlib.Path(__file__).resolve().parent / "seeds"
data = np.arange(120, 144, dtype=np.uint8).reshape(2, 12)


def save(target, name, content):
    folder = seeds / target
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


def safetensors(metadata, tensors):
    offsets, data = {}, b""
    for tensor, (shape, n_bytes) in tensors.items():
        offsets[tensor] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + n_bytes]}
        data += bytes(n_bytes)
    header = json.dumps({"__metadata__": {"selfie": json.dumps(metadata)}, **offsets}).encode()
    return len(header).to_bytes(8, "little") + header + data


network = {
    "architecture": "resnet50v2", "width": 1, "depths": [1, 1, 1, 1], "stem": "3x3", "image_size": 32, "patch_size": 8,
    "n_targets": 4, "heads": 1, "ffn": 1, "layers": 1, "dropout": 0.0, "norm_first": False, "positions": "per_patch",
    "context_positions": True, "logit_scale": "inverse_sqrt", "temperature": 0.1,
    "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]},
}
save("weights", "pretraining", safetensors({"holds": "pretraining", **network}, {"a": ([2], 8)}))
classifier = {"holds": "classifier", "network": network, "kind": "stage4", "classes": ["a", "b"]}
save("weights", "classifier", safetensors(classifier, {"head.fc.bias": ([2], 8)}))
manifest = {"format": 1, "step": 1, "metrics_len": 2, "config_hash": "a", "manifest_hash": "b",
            "files": {"weights.safetensors": {"bytes": 1, "blake3": "c", "tensors": {"d": {"start": 8, "end": 9, "blake3": "e"}}}}}
save("manifest", "manifest", json.dumps(manifest, indent=2).encode() + b"\n")
time = {"step_s": 0.1, "images_per_s": 1.0, "data_wait": 0.0}
metrics = {"step": 1, "loss": 1.0, "accuracy": 0.5, "chance": 0.25, "lr": 0.1, "grad_norm": 1.0, "time": time}
save("records", "metrics", json.dumps(metrics).encode() + b"\n")
event = {"step": 1, "event": "non_finite", "place": "the loss", "action": "skip", "examples": [1]}
save("records", "event", json.dumps(event).encode() + b"\n")
