"""Shows that our classifiers' weights are timm's `resnetv2_50` (v2) and torchvision's `resnet50` (v1.5), and back.

  round-trip             everything below, both architectures, both directions, with random weights and statistics
  to-timm OURS…          weights files of ours load strictly in timm or torchvision, and both give the same logits
  from-timm OURS OUT     a random network of timm's or torchvision's, saved as a weights file of ours; OURS gives the
                         metadata (architecture, normalisation, classes) and the shapes

Agreement is max|ours - theirs| / max|theirs| <= 1e-4, theirs computed in f64 from the same u8 images. Loading is strict
on both sides. The logits of ours come from two examples of selfie-model:

  cargo run --release -p selfie-model --example random_weights -- ARCHITECTURE OUT.safetensors SEED
  cargo run --release -p selfie-model --example logits -- WEIGHTS INPUTS.safetensors OUT.safetensors

INPUTS holds `images`, u8 [B, 224, 224, 3]; the output `logits`, f32 [B, L]. Needs torch, torchvision, timm, safetensors;
README.md has the commands. Not part of CI.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import timm
import torch
import torch.nn as nn
import torchvision
from safetensors import safe_open
from safetensors.torch import load_file, save_file

TOLERANCE = 1e-4
SIDE = 224
METADATA_KEY = "selfie"
EXAMPLES = "cargo run --quiet --release -p selfie-model --example"


class Disagreement(Exception):
    pass


# ---------------------------------------------------------------- files


def read_weights(path):
    """The tensors and the metadata of one of our weights files."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
    if list(metadata) != [METADATA_KEY]:
        raise Disagreement(f"{path}: expected the one metadata key {METADATA_KEY!r}, got {sorted(metadata)}")
    return load_file(path), metadata[METADATA_KEY]


def find_key(value, key):
    """The value of `key`, wherever it stands in a JSON document."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            found = find_key(item, key)
            if found is not None:
                return found
    return None


def normalize(images, metadata):
    """u8 [B, H, W, 3] → f64 [B, 3, H, W], with the mean and the standard deviation that the weights file states."""
    document = json.loads(metadata)
    mean, std = find_key(document, "mean"), find_key(document, "std")
    if mean is None or std is None:
        raise Disagreement(f"the metadata states no mean and std: {metadata}")
    x = images.double() / 255
    x = (x - torch.tensor(mean, dtype=torch.float64)) / torch.tensor(std, dtype=torch.float64)
    return x.permute(0, 3, 1, 2).contiguous()


# ---------------------------------------------------------------- their networks


def architecture_of(tensors):
    if "head.fc.weight" in tensors:
        return "v2"
    if "fc.weight" in tensors:
        return "v1.5"
    raise Disagreement("neither head.fc.weight (v2, timm's names) nor fc.weight (v1.5, torchvision's) is there")


def their_network(architecture, n_classes):
    if architecture == "v2":
        return timm.create_model("resnetv2_50", num_classes=n_classes)
    return torchvision.models.resnet50(num_classes=n_classes)


def n_classes_of(tensors):
    return (tensors["head.fc.weight"] if "head.fc.weight" in tensors else tensors["fc.weight"]).shape[0]


def load_strictly(tensors):
    """Their network with our tensors; torch names every missing, extra or misshapen tensor."""
    network = their_network(architecture_of(tensors), n_classes_of(tensors))
    network.load_state_dict(tensors, strict=True)
    return network


def randomize(network):
    """Moves norms and biases off their defaults, so that a swapped or forgotten vector shows in the logits."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        elif isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.bias is not None):
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)


def their_logits(network, images, metadata):
    with torch.inference_mode():
        return network.double().eval()(normalize(images, metadata))


# ---------------------------------------------------------------- our program


def run_example(a, name, *arguments):
    command = [*shlex.split(a.examples), name, "--", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Disagreement(f"{shlex.join(command)} exited with {done.returncode}:\n{done.stderr.strip()}")


def our_logits(a, weights, images, folder):
    inputs, outputs = folder / "inputs.safetensors", folder / "logits.safetensors"
    save_file({"images": images}, inputs)
    run_example(a, "logits", weights, inputs, outputs)
    return load_file(outputs)["logits"]


# ---------------------------------------------------------------- comparison


def random_images(a):
    """Coloured squares, every image with its own colour and its own size of square."""
    generator = torch.Generator().manual_seed(a.seed)
    images = []
    for i in range(a.batch):
        squares = [7, 14, 28, 56][i % 4]
        colour = torch.rand(1, 1, 3, generator=generator) * 127
        pattern = torch.rand(squares, squares, 3, generator=generator) * 127
        side = SIDE // squares
        images.append(colour + pattern.repeat_interleave(side, 0).repeat_interleave(side, 1))
    return torch.stack(images).to(torch.uint8)


def relative_error(ours, theirs):
    return float((ours.double() - theirs).abs().max() / theirs.abs().max())


def compare(what, ours, theirs):
    """Random networks give every image nearly the same logits: what differs between the images is compared on its own too."""
    if ours.shape != theirs.shape or ours.dtype != torch.float32:
        raise Disagreement(f"{what}: logits {list(ours.shape)} {ours.dtype}, expected {list(theirs.shape)} f32")
    error = relative_error(ours, theirs)
    difference = relative_error(ours - ours.mean(0), theirs - theirs.mean(0))
    print(f"{what}: error {error:.1e} (allowed {TOLERANCE:.0e}), of the differences between images {difference:.1e} ({10 * TOLERANCE:.0e})")
    if not (error <= TOLERANCE and difference <= 10 * TOLERANCE):
        raise Disagreement(f"{what}: the logits differ")


def ours_to_theirs(a, path, folder):
    tensors, metadata = read_weights(path)
    images = random_images(a)
    theirs = their_logits(load_strictly(tensors), images, metadata)
    compare(f"{architecture_of(tensors)} ours → theirs", our_logits(a, path, images, folder), theirs)


def random_theirs(a, ours, out):
    """Saves a random network of theirs in our format, as `state_dict` has it: with num_batches_tracked."""
    tensors, metadata = read_weights(ours)
    torch.manual_seed(a.seed)
    network = their_network(architecture_of(tensors), n_classes_of(tensors))
    randomize(network)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, out, metadata={METADATA_KEY: metadata})
    return network, metadata


def theirs_to_ours(a, ours, folder):
    exchange = folder / "exchange.safetensors"
    network, metadata = random_theirs(a, ours, exchange)
    images = random_images(a)
    theirs = their_logits(network, images, metadata)
    what = "v2" if isinstance(network, timm.models.ResNetV2) else "v1.5"
    compare(f"{what} theirs → ours", our_logits(a, exchange, images, folder), theirs)


def refuses(a, ours, folder):
    """Ours is strict as well: a missing, an extra and a misshapen tensor are each an error that names the tensor."""
    tensors, metadata = read_weights(ours)
    victim = "norm.bias" if architecture_of(tensors) == "v2" else "bn1.bias"
    without = {k: v for k, v in tensors.items() if k != victim}
    for what, name, damaged in [
        ("missing", victim, without),
        ("extra", "extra.bias", {**tensors, "extra.bias": torch.zeros(3)}),
        ("misshapen", victim, {**without, victim: torch.zeros(3)}),
    ]:
        path = folder / "damaged.safetensors"
        save_file(damaged, path, metadata={METADATA_KEY: metadata})
        try:
            our_logits(a, path, random_images(a)[:1], folder)
        except Disagreement as refusal:
            if name not in str(refusal):
                raise Disagreement(f"a {what} tensor {name} is refused without its name: {refusal}") from None
            print(f"{architecture_of(tensors)} {what} tensor {name}: refused by name")
        else:
            raise Disagreement(f"a {what} tensor {name} was accepted")


# ---------------------------------------------------------------- commands


def round_trip(a, folder):
    for architecture in a.architectures:
        ours = folder / "ours.safetensors"
        run_example(a, "random_weights", architecture, ours, a.seed)
        ours_to_theirs(a, ours, folder)
        theirs_to_ours(a, ours, folder)
        refuses(a, ours, folder)


def to_timm(a, folder):
    for path in a.ours:
        ours_to_theirs(a, path, folder)


def from_timm(a, _folder):
    random_theirs(a, a.ours, a.out)
    print(f"wrote {a.out}")


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--batch", type=int, default=3, help="images to compare on")
    p.add_argument("--examples", default=EXAMPLES, metavar="COMMAND", help="runs an example of selfie-model by name")
    sub = p.add_subparsers(required=True)
    r = sub.add_parser("round-trip")
    r.set_defaults(run=round_trip)
    r.add_argument("architectures", nargs="*", default=["v2", "v1.5"], help="as random_weights calls them")
    t = sub.add_parser("to-timm")
    t.set_defaults(run=to_timm)
    t.add_argument("ours", nargs="+", type=Path)
    f = sub.add_parser("from-timm")
    f.set_defaults(run=from_timm)
    f.add_argument("ours", type=Path)
    f.add_argument("out", type=Path)
    return p.parse_args()


if __name__ == "__main__":
    args = arguments()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            args.run(args, Path(scratch))
    except Disagreement as problem:
        sys.exit(f"error: {problem}")
