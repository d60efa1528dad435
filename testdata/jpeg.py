"""Golden crops of JPEG files: what Pillow and torchvision make of a file, for the oracle test of selfie-data's loading.

The file holds `file.NAME`, the bytes of a JPEG; `pixels.NAME`, Pillow's decoding of it `[H, W, C]`; and `output.CASE`, torchvision's
`resized_crop` of that image. The metadata key `config` is a JSON object, CASE -> {"file", "top", "left", "height", "width", "side"}.
README.md has the command that made the committed file.
"""

import argparse
import io
import json

import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import functional as F

WINDOWS = [(0, 0, 60, 80, 32), (11, 17, 41, 37, 32), (30, 40, 12, 16, 32), (5, 7, 50, 70, 16)]


def picture(rng, height, width):
    """Waves of three colours with edges and a little noise: what a camera sees has both."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(x / (7 + 3 * c) + y / (11 - 2 * c) + c) for c in range(3)], -1)
    values = 128 + 90 * waves + rng.normal(0, 4, (height, width, 3))
    values[15:40, 20:50] = [200, 40, 60]
    return np.clip(values, 0, 255).round().astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    a = parser.parse_args()
    image = Image.fromarray(picture(np.random.default_rng(0), 60, 80))
    tensors, cases = {}, {}
    for name, picture_of, options in [
        ("half_chroma", image, dict(quality=90, subsampling="4:2:0")),
        ("full_chroma", image, dict(quality=90, subsampling="4:4:4")),
        ("progressive", image, dict(quality=75, progressive=True)),
        ("grey", image.convert("L"), dict(quality=90)),
    ]:
        file = io.BytesIO()
        picture_of.save(file, "JPEG", **options)
        tensors[f"file.{name}"] = np.frombuffer(file.getvalue(), np.uint8)
        decoded = Image.open(file).convert("RGB")
        tensors[f"pixels.{name}"] = np.asarray(decoded)
        for idx, (top, left, height, width, side) in enumerate(WINDOWS):
            case = f"{name}.{idx}"
            tensors[f"output.{case}"] = np.asarray(F.resized_crop(decoded, top, left, height, width, [side, side]))
            cases[case] = dict(file=name, top=top, left=left, height=height, width=width, side=side)
    save_file(tensors, a.out, metadata={"config": json.dumps(cases)})


if __name__ == "__main__":
    main()
