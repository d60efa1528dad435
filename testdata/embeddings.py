"""Embeddings and the pool token's attention of the committed golden pretraining networks, by PyTorch in f64.

  python testdata/embeddings.py crates/selfie-model/tests/golden/{pretrain32,pretrain32_norm_first}.safetensors

Reads a file that golden.py wrote and puts NAME.embeddings.safetensors beside it: `stage1` to `stage3` (averages of the whole
images' maps, the last normalised and rectified), `h` (mean of the patch embeddings), `u` (pooled from all patches) and
`attention.LAYER [B, heads, 1 + K]` of the file's own order, all in evaluation mode.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from golden import Selfie, relu


def network(path):
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["config"])
    tensors = load_file(path)
    net = Selfie(argparse.Namespace(**config)).double()
    weights = {k.removeprefix("weight."): v for k, v in tensors.items() if k.startswith("weight.")}
    missing, extra = net.load_state_dict(weights, strict=False)
    if extra or any("num_batches" not in name for name in missing):
        sys.exit(f"{path}: missing {missing}, unexpected {extra}")
    return net.eval(), tensors["input.images_nchw"].double(), tensors["input.order"]


def stages(net, x):
    x, out = net.patch_network.stem["conv"](x), {}
    for i, stage in enumerate(net.patch_network.stages):
        x = stage(x)
        last = i + 1 == len(net.patch_network.stages)
        out[f"stage{i + 1}"] = (relu(net.patch_network.norm(x)) if last else x).mean((2, 3))
    return out


def patch_embeddings(net, x):
    b, g, p = x.shape[0], net.grid, net.patch
    patches = x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).reshape(b * g * g, 3, p, p)
    return net.patch_network(patches).view(b, g * g, -1)


def attention(net, h, order):
    """The weights that nn.MultiheadAttention itself gives for the first token, head by head."""
    context = order[:, net.n_targets :]
    picked = h.gather(1, context[..., None].expand(-1, -1, h.shape[-1])) + net.positions()[context]
    x = torch.cat([net.u0.expand(h.shape[0], 1, -1), picked], 1)
    out = {}
    for i, layer in enumerate(net.attention_pooling.layers):
        seen = layer.norm1(x) if layer.norm_first else x
        _, weights = layer.self_attn(seen, seen, seen, average_attn_weights=False)
        out[f"attention.{i}"] = weights[:, :, 0]
        x = layer(x)
    return out


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", nargs="+", type=Path)
    for path in parser.parse_args().golden:
        net, x, order = network(path)
        h = patch_embeddings(net, x)
        everything = torch.cat([net.u0.expand(h.shape[0], 1, -1), h + net.positions()], 1)
        out = stages(net, x) | {"h": h.mean(1), "u": net.attention_pooling(everything)[:, 0]} | attention(net, h, order)
        save_file({k: v.contiguous() for k, v in out.items()}, path.with_suffix(".embeddings.safetensors"))


if __name__ == "__main__":
    main()
