"""Shows that onnxruntime computes from an exported ONNX model what we compute from the weights file.

  python testdata/onnx_check.py SELFIE WEIGHTS…

SELFIE is the program. For each weights file (a run's `weights.safetensors`, of pretraining or of a classifier with four stages)
it runs `selfie export --onnx`, draws images of the network's size, and compares onnxruntime's `embedding` with `selfie
embed`, and `logits` through their softmax with `selfie predict`: max|a - b| / max|b| <= 1e-4. Needs numpy, pillow, onnx,
onnxruntime. Not part of CI.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

TOLERANCE = 1e-4
N_IMAGES = 5


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} exited with {done.returncode}:\n{done.stderr}")
    return done.stdout


def images(side, seed):
    """Squares of random colours, so that images differ at every scale."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (N_IMAGES, 4, 4, 3), dtype=np.uint8)
    fine = rng.integers(-40, 40, (N_IMAGES, side, side, 3))
    coarse = blocks.repeat(side // 4, 1).repeat(side // 4, 2).astype(int)
    return np.clip(coarse + fine, 0, 255).astype(np.uint8)


def compare(what, ours, theirs):
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    print(f"{what}: error {error:.1e} over {ours.shape}")
    if not error <= TOLERANCE:
        sys.exit(f"{what}: above {TOLERANCE:.0e}")


def check(selfie, weights, folder):
    run(selfie, "export", weights, "--out", folder / "model", "--onnx")
    onnx.checker.check_model(str(folder / "model/model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(folder / "model/model.onnx"))
    side = session.get_inputs()[0].shape[1]
    pixels, paths = images(side, 1), []
    for i, image in enumerate(pixels):
        paths.append(folder / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    theirs = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"pixels": pixels})))

    run(selfie, "embed", weights, *paths, "--out", folder / "e.npy", "--quiet")
    compare(f"{weights}: embedding", np.load(folder / "e.npy"), theirs["embedding"])
    if "logits" in theirs:
        lines = run(selfie, "predict", weights, *paths, "--json").splitlines()
        probabilities = [json.loads(line)["probabilities"] for line in lines]
        classes = json.loads((folder / "model/config.json").read_text())["pretrained_cfg"]["label_names"]
        exp = np.exp(theirs["logits"] - theirs["logits"].max(1, keepdims=True))
        ours = np.array([[of[name] for name in classes] for of in probabilities])
        compare(f"{weights}: probabilities", ours, exp / exp.sum(1, keepdims=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("selfie")
    parser.add_argument("weights", nargs="+", type=Path)
    arguments = parser.parse_args()
    for weights in arguments.weights:
        with tempfile.TemporaryDirectory() as folder:
            check(arguments.selfie, weights, Path(folder))


if __name__ == "__main__":
    main()
