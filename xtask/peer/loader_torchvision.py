"""The peer of `selfie bench loader`: the same batches by torchvision, as its users load them. `cargo xtask bench loader` runs it.

  --images 224   DIR/train as an ImageFolder: RandomResizedCrop(224), flip, ToTensor, Normalize, on Pillow's images
  --images 32    images in memory as CIFAR-10's are: padded crop, flip, ToTensor, Normalize; then patches are cut and masks drawn
                 for the whole batch. Nothing here depends on what the pixels show: they are noise.

Prints one JSON object. Times run from the loader's start to its last batch; processor time is of all processes.
"""
import argparse
import json
import os
import resource
import time

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder

NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
N_SMALL = 10_000
PATCH = 8


class Small(Dataset):
    """32-px images in memory."""

    def __init__(self):
        self.images = np.random.default_rng(0).integers(0, 256, (N_SMALL, 32, 32, 3), dtype=np.uint8)
        crop = transforms.RandomCrop(32, padding=4, padding_mode="reflect")
        self.transform = transforms.Compose([crop, transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        return self.transform(Image.fromarray(self.images[idx])), 0


def cut(images):
    """[B, 3, 32, 32] -> patches [B, N, 3, P, P] and an order of them, the targets first."""
    b, c, h, w = images.shape
    patches = images.reshape(b, c, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 4, 1, 3, 5)
    patches = patches.reshape(b, -1, c, PATCH, PATCH)
    return patches, torch.rand(b, patches.shape[1]).argsort(1)


def cpu_seconds():
    """Of this process and those it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--images", type=int, choices=[32, 224], required=True)
    p.add_argument("--data", help="a folder with train/ of class folders; at 224 px")
    p.add_argument("--workers", type=int, default=0)
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--batches", type=int, default=100)
    a = p.parse_args()
    torch.set_num_threads(1)
    if a.images == 224:
        steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE]
        dataset = ImageFolder(os.path.join(a.data, "train"), transforms.Compose(steps))
    else:
        dataset = Small()
    sampler = RandomSampler(dataset, num_samples=a.batch * a.batches)
    clock, before = time.perf_counter(), cpu_seconds()
    n_images = 0
    for images, _ in DataLoader(dataset, a.batch, sampler=sampler, num_workers=a.workers):
        if a.images == 32:
            images, _ = cut(images)
        n_images += len(images)
    seconds = time.perf_counter() - clock
    answer = {
        "peer": f"torchvision {torchvision.__version__}, Pillow {Image.__version__}",
        "images_per_s": n_images / seconds,
        "images_per_cpu_s": n_images / (cpu_seconds() - before),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
