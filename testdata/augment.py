"""Golden images: what torchvision makes of given images with given parameters, for the oracle tests of selfie-data's augmentation.

The file holds u8 tensors, channels last: `input.NAME` and `output.CASE` (`output.CASE.pillow` where Pillow is a second opinion).
The metadata key `config` is a JSON object:

  cases       CASE -> {"op", "image", and the operation's parameters}
  space       RandAugment's operations in their order: [name, magnitudes of the 31 bins, signed], for images of the side of `square`
  windows     what torchvision's RandomResizedCrop draws: [height, width, lowest scale, number of draws, mean area share, mean
              of the logarithm of width over height, share of whole images]

Operations are torchvision's on u8 tensors. README.md has the command that made the committed file.
"""

import argparse
import json
import math

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from torchvision.transforms import InterpolationMode, RandomResizedCrop, v2
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import RandAugment, _apply_op

SIDE = 20
BINS = 31


def picture(rng, height, width, low, high):
    """Waves and noise between `low` and `high`, and a grey corner: every hue, flat places and edges."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (3 + c) + y / (5 - c) + c) for c in range(3)]
    values = np.stack(waves, -1) * 0.35 + rng.uniform(0, 0.3, (height, width, 3)) + 0.5
    values = low + (high - low) * np.clip(values, 0, 1)
    values[: height // 4, : width // 4] = values[: height // 4, : width // 4, :1]
    return values.round().astype(np.uint8)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def array(image):
    return np.ascontiguousarray(image.permute(1, 2, 0).numpy())


def colours(add):
    blends = {"brightness": F.adjust_brightness, "contrast": F.adjust_contrast, "saturation": F.adjust_saturation}
    for image in ["square", "narrow"]:
        for factor in [0.0, 0.37, 1.73]:
            for op, adjust in blends.items():
                add(op, image, lambda x: adjust(x, factor), factor=factor)
        for factor in [-0.5, -0.23, 0.0, 0.1, 0.5]:
            add("hue", image, lambda x: F.adjust_hue(x, factor), factor=factor)
        add("grayscale", image, lambda x: F.rgb_to_grayscale(x, 3))
        add("autocontrast", image, F.autocontrast)
        add("equalize", image, F.equalize)
        add("sharpness", image, lambda x: F.adjust_sharpness(x, 1.6), factor=1.6)


def frames(add):
    add("flip", "square", F.hflip)
    for mode, padding in [("reflect", "reflect"), ("constant", "zero")]:
        for pad, top, left in [(4, 0, 8), (4, 3, 5), (19, 38, 0)]:
            crop = lambda x: F.crop(F.pad(x, pad, padding_mode=mode), top, left, SIDE, SIDE)
            add("pad_crop", "square", crop, padding=padding, pad=pad, top=top, left=left)


def windows(add, images, outputs):
    for top, left, height, width, side in [
        (0, 0, 40, 56, 24),
        (3, 5, 31, 37, 24),
        (7, 20, 9, 12, 24),
        (0, 1, 1, 55, 16),
        (2, 2, 32, 32, 32),
    ]:
        window = dict(top=top, left=left, height=height, width=width, side=side)
        crop = lambda x: F.resized_crop(x, top, left, height, width, [side, side], InterpolationMode.BILINEAR, True)
        case = add("resized_crop", "wide", crop, **window)
        outputs[case + ".pillow"] = np.asarray(crop(Image.fromarray(images["wide"])))


def rand_augment(add):
    space = RandAugment()._augmentation_space(BINS, (SIDE, SIDE))
    table = []
    for name, (magnitudes, signed) in space.items():
        values = magnitudes.expand(BINS).tolist()
        table.append([name, values, signed])
        for bin_idx in [9, 30]:
            for sign in [1, -1] if signed else [1]:
                step = lambda x: _apply_op(x, name, sign * float(values[bin_idx]), InterpolationMode.NEAREST, None)
                add("rand_augment", "square", step, name=name, bin=bin_idx, negative=sign < 0)
    return table


def jitter(add):
    steps = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 0, 3, 1]]:
        factors = [0.8, 1.3, 0.6, -0.07]

        def run(x):
            for step in order:
                x = steps[step](x, factors[step])
            return x

        add("jitter", "square", run, order=order, factors=factors)


def mixing(images, outputs, cases):
    batch = images["batch"]
    x = torch.from_numpy(batch).permute(0, 3, 1, 2)
    labels = torch.arange(len(batch))
    back = lambda x: np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    for share in [0.0, 0.3, 0.81]:
        params = dict(lam=share, labels=labels, batch_size=len(batch))
        mixed = v2.MixUp(num_classes=9).transform(x.to(torch.float64), params)
        case = f"mixup.{share}"
        outputs[case] = back(mixed.round().to(torch.uint8))
        cases[case] = dict(op="mixup", image="batch", share=share)
    for box in [(0, 0, 3, 5), (2, 1, 8, 2), (4, 4, 4, 4)]:
        params = dict(box=box, lam_adjusted=0.0, labels=labels, batch_size=len(batch))
        case = "cutmix." + ".".join(map(str, box))
        outputs[case] = back(v2.CutMix(num_classes=9).transform(x, params))
        cases[case] = dict(op="cutmix", image="batch", box=box)


def drawn_windows(n=20000):
    """Statistics of the windows that torchvision draws."""
    rows = []
    for height, width, lowest in [(32, 32, 0.08), (60, 100, 0.5), (20, 200, 0.08)]:
        image = torch.zeros(3, height, width)
        draws = [RandomResizedCrop.get_params(image, [lowest, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
        area = sum(h * w for _, _, h, w in draws) / n / (height * width)
        ratio = sum(math.log(w / h) for _, _, h, w in draws) / n
        whole = sum((h, w) == (height, width) for _, _, h, w in draws) / n
        rows.append([height, width, lowest, n, area, ratio, whole])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    images = {
        "square": picture(rng, SIDE, SIDE, 0, 255),
        "narrow": picture(rng, SIDE, SIDE, 60, 190),
        "wide": picture(rng, 40, 56, 0, 255),
        "batch": np.stack([picture(rng, 8, 8, 0, 255) for _ in range(4)]),
    }
    # A channel that never varies, and one of two values.
    images["narrow"][..., 1] = 77
    images["narrow"][..., 2] = np.where(images["narrow"][..., 2] > 120, 130, 129)
    outputs, cases = {}, {}

    def add(op, image, run, **parameters):
        case = ".".join([op, image, *(str(value) for value in parameters.values())])
        outputs[case] = array(run(tensor(images[image])))
        cases[case] = dict(op=op, image=image, **parameters)
        return case

    colours(add)
    frames(add)
    windows(add, images, outputs)
    jitter(add)
    space = rand_augment(add)
    mixing(images, outputs, cases)
    tensors = {f"input.{name}": image for name, image in images.items()}
    tensors |= {f"output.{name}": image for name, image in outputs.items()}
    config = dict(cases=cases, space=space, windows=drawn_windows())
    save_file(tensors, a.out, metadata={"config": json.dumps(config)})


if __name__ == "__main__":
    main()
