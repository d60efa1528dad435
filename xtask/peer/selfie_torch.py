"""The peer: the same steps in PyTorch, as a PyTorch user would write them. `cargo xtask bench peer` runs it.

  speed   images/s and peak memory of a training step, or of inference, in a process of its own
  rate    the rate of one large matrix product

Both print one JSON object. Architecture: pre-activation ResNet-50 (v2); patch network = stem + 3 stages + BN + ReLU + global
average pool; attention pooling = learned u0 + 3 post-LN transformer layers (GELU erf); query v = u + pos(target);
logits = v . h / sqrt(D) over the masked patches of the same image.
"""
import argparse
import json
import math
import resource
import statistics
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class PreActBottleneck(nn.Module):
    def __init__(self, cin, mid, stride):
        super().__init__()
        cout = mid * 4
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.ModuleDict({"conv": nn.Conv2d(cin, cout, 1, stride, bias=False)})
        self.norm1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, mid, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(mid), nn.Conv2d(mid, mid, 3, stride, 1, bias=False)
        self.norm3, self.conv3 = nn.BatchNorm2d(mid), nn.Conv2d(mid, cout, 1, bias=False)

    def forward(self, x):
        a = F.relu(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample["conv"](a)
        a = F.relu(self.norm2(self.conv1(a)))
        a = F.relu(self.norm3(self.conv2(a)))
        return self.conv3(a) + shortcut


class Stage(nn.Module):
    def __init__(self, cin, mid, depth, stride):
        super().__init__()
        first = PreActBottleneck(cin, mid, stride)
        self.blocks = nn.Sequential(first, *[PreActBottleneck(mid * 4, mid, 1) for _ in range(depth - 1)])

    def forward(self, x):
        return self.blocks(x)


class ResNetV2(nn.Module):
    """stages=3 is the patch network, stages=4 (with classes) the classifier. small: 3x3/1 stem, no max-pool."""

    def __init__(self, width=64, depths=(3, 4, 6, 3), stages=4, small=True, classes=None):
        super().__init__()
        self.small = small
        conv = nn.Conv2d(3, width, 3, 1, 1, bias=False) if small else nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.stem = nn.ModuleDict({"conv": conv})
        cin, out = width, []
        for s in range(stages):
            mid = width << s
            out.append(Stage(cin, mid, depths[s], 1 if s == 0 else 2))
            cin = mid * 4
        self.stages = nn.ModuleList(out)
        self.norm = nn.BatchNorm2d(cin)
        self.fc = nn.Linear(cin, classes) if classes else None

    def forward(self, x):
        x = self.stem["conv"](x)
        if not self.small:
            x = F.max_pool2d(x, 3, 2, 1)
        for s in self.stages:
            x = s(x)
        x = F.relu(self.norm(x)).mean((2, 3))
        return x if self.fc is None else self.fc(x)


class Selfie(nn.Module):
    def __init__(self, width=64, depths=(3, 4, 6), image=32, patch=8, heads=32, ffn=640, layers=3, dropout=0.1, masked=0.25):
        super().__init__()
        self.patch, self.grid = patch, image // patch
        n = self.grid**2
        self.masked = int(n * masked)
        self.patch_network = ResNetV2(width, depths, stages=3, small=patch < 32)
        d = width * 16
        self.u0 = nn.Parameter(torch.randn(d) * 0.02)
        if image > 32:
            self.row = nn.Parameter(torch.randn(self.grid, d) * 0.02)
            self.col = nn.Parameter(torch.randn(self.grid, d) * 0.02)
        else:
            self.pos = nn.Parameter(torch.randn(n, d) * 0.02)
        layer = nn.TransformerEncoderLayer(d, heads, ffn, dropout, "gelu", batch_first=True)
        self.attention_pooling = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def positions(self):
        return self.pos if hasattr(self, "pos") else (self.row[:, None] + self.col[None]).flatten(0, 1)

    def forward(self, x, order):
        """x: [B,3,H,W]; order: [B,n] a permutation of the patches; its first `masked` entries are the targets."""
        b, g, p, n, m = x.shape[0], self.grid, self.patch, self.grid**2, self.masked
        patches = x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).reshape(b * n, 3, p, p)
        patches = patches.contiguous(memory_format=torch.channels_last)
        h = self.patch_network(patches).view(b, n, -1)
        pos, target, context = self.positions(), order[:, :m], order[:, m:]
        pick = lambda i: h.gather(1, i[..., None].expand(-1, -1, h.shape[-1]))
        u = self.attention_pooling(torch.cat([self.u0.expand(b, 1, -1), pick(context) + pos[context]], 1))[:, :1]
        return (u + pos[target]) @ pick(target).transpose(1, 2) / math.sqrt(h.shape[-1])


def loss_of(logits):
    b, m, _ = logits.shape
    return F.cross_entropy(logits.reshape(b * m, m).float(), torch.arange(m, device=logits.device).repeat(b))


def build(a):
    small = a.images == 32
    if a.task == "pretrain":
        return Selfie(a.width, image=a.images, patch=8 if small else 32)
    if a.task == "embed":
        return ResNetV2(a.width, stages=4, small=small)
    return ResNetV2(a.width, stages=4, small=small, classes=10 if small else 1000)


def describe(a):
    return dict(peer="PyTorch " + torch.__version__, dtype=a.dtype, threads=torch.get_num_threads(), device=a.device)


def prepare(a):
    """What a user of a GPU turns on: TF32 where asked, cuDNN's search for the fastest convolution."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = a.dtype == "tf32"
    torch.backends.cudnn.benchmark = True
    if a.dtype == "tf32" and a.device != "cuda":
        sys.exit("--dtype tf32: for --device cuda alone")


def wait(a):
    if a.device == "cuda":
        torch.cuda.synchronize()


def speed(a):
    torch.manual_seed(0)
    net = build(a).to(a.device, memory_format=torch.channels_last)
    opt = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
    call = torch.compile(net) if a.compile else net
    x = torch.randn(a.batch, 3, a.images, a.images).to(a.device).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (a.batch,)).to(a.device)
    n = (a.images // (8 if a.images == 32 else 32)) ** 2
    auto = lambda: torch.autocast(a.device, torch.bfloat16, enabled=a.dtype == "bf16")

    def step():
        if a.task == "embed":
            with torch.inference_mode(), auto():
                return float(call.eval()(x).float().mean())
        opt.zero_grad(set_to_none=True)
        with auto():
            if a.task == "pretrain":
                out = loss_of(call(x, torch.rand(a.batch, n, device=a.device).argsort(1)))
            else:
                out = F.cross_entropy(call(x).float(), y)
        out.backward()
        opt.step()
        wait(a)
        return out.item()

    for _ in range(a.warmup):
        step()
    times = []
    for _ in range(a.steps):
        t = time.perf_counter()
        loss = step()
        times.append(time.perf_counter() - t)
    med = statistics.median(times)
    # Kibibytes on Linux. On a GPU, what was allocated there.
    peak = torch.cuda.max_memory_allocated() >> 20 if a.device == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    asked = dict(task=a.task, images=a.images, width=a.width, batch=a.batch, compiled=a.compile)
    result = dict(median_step_s=med, best_step_s=min(times), images_per_s=a.batch / med, peak_rss_mb=peak, loss=loss)
    print(json.dumps(describe(a) | asked | result))


def rate(a):
    dtype = torch.bfloat16 if a.dtype == "bf16" else torch.float32
    x, y = (torch.randn(a.size, a.size).to(a.device, dtype) for _ in range(2))
    times = []
    for i in range(2 + a.products):
        t = time.perf_counter()
        torch.mm(x, y)
        wait(a)
        if i >= 2:
            times.append(time.perf_counter() - t)
    flop = 2 * a.size**3 / 1e9
    result = dict(size=a.size, gflop_per_s=flop / min(times), median_gflop_per_s=flop / statistics.median(times))
    print(json.dumps(describe(a) | result))


def main():
    p = argparse.ArgumentParser()
    sub = p.add_subparsers(required=True)
    s = sub.add_parser("speed")
    s.set_defaults(run=speed)
    s.add_argument("--task", choices=["pretrain", "finetune", "embed"], default="pretrain")
    s.add_argument("--images", type=int, default=32, choices=[32, 224])
    s.add_argument("--width", type=int, default=64)
    s.add_argument("--batch", type=int, default=64)
    s.add_argument("--compile", action="store_true")
    s.add_argument("--steps", type=int, default=5)
    s.add_argument("--warmup", type=int, default=2)
    r = sub.add_parser("rate")
    r.set_defaults(run=rate)
    r.add_argument("--size", type=int, default=2048)
    r.add_argument("--products", type=int, default=10)
    for each in (s, r):
        each.add_argument("--dtype", choices=["f32", "tf32", "bf16"], default="f32")
        each.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
        each.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    prepare(a)
    a.run(a)


if __name__ == "__main__":
    main()
