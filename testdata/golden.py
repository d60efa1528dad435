"""Golden tensors: what PyTorch computes, in f64, for the oracle tests of selfie-ops and selfie-model.

  pretrain    the whole pretraining network: logits, loss, every gradient, running statistics after the step
  classifier  a v2 (timm's resnetv2_50 names) or v1.5 (torchvision's resnet50 names) classifier, the same
  ops         single operations and optimizer steps

A file holds, per tensor: `weight.NAME` (parameters and running statistics before the step), `input.NAME`, `output.NAME`,
`grad.NAME` (the loss's gradient) and `after.NAME` (statistics or parameters after the step); `ops` puts the case's name in
front (`conv3x3_s1.grad.x`). Tensors are PyTorch's layout: NCHW, OIHW, [out, in]. The metadata key `config` is a JSON object
of the arguments (`ops`: of each case's constants). README.md has the commands that made the committed files.

`autocast.distance` of a network's file is how far PyTorch's own bf16 gradients are from its f64 ones.

Nothing is left at a value that hides a mistake: norm scales are not 1, biases are not 0, the attention layers differ.
"""

import argparse
import copy
import json
import math
from functools import partial

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file


# ---------------------------------------------------------------- networks


KINK = 5e-6
nearest_to_kink = math.inf


def relu(x):
    """ReLU that remembers how near to zero its input came: there the gradient jumps, and f32 may fall on the other side."""
    global nearest_to_kink
    nearest_to_kink = min(nearest_to_kink, x.detach().abs().min().item())
    return F.relu(x)


def away_from_kinks(make, a):
    """`make(a)` with the first seed, from the one asked for, whose ReLU inputs all stay away from zero."""
    global nearest_to_kink
    while True:
        nearest_to_kink = math.inf
        torch.manual_seed(a.seed)
        out = make(a)
        if nearest_to_kink > KINK:
            return save(out, a.out, config_of(a))
        a.seed += 1


class PreActBottleneck(nn.Module):
    """v2: norm, ReLU, convolution, three times; the shortcut is taken after the first norm and ReLU when it is projected."""

    def __init__(self, c_in, mid, stride):
        super().__init__()
        c_out = mid * 4
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.ModuleDict({"conv": nn.Conv2d(c_in, c_out, 1, stride, bias=False)})
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, mid, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(mid), nn.Conv2d(mid, mid, 3, stride, 1, bias=False)
        self.norm3, self.conv3 = nn.BatchNorm2d(mid), nn.Conv2d(mid, c_out, 1, bias=False)

    def forward(self, x):
        a = relu(self.norm1(x))
        shortcut = x if self.downsample is None else self.downsample["conv"](a)
        a = relu(self.norm2(self.conv1(a)))
        a = relu(self.norm3(self.conv2(a)))
        return self.conv3(a) + shortcut


class Stage(nn.Module):
    def __init__(self, c_in, mid, depth, stride):
        super().__init__()
        first = PreActBottleneck(c_in, mid, stride)
        self.blocks = nn.Sequential(first, *[PreActBottleneck(mid * 4, mid, 1) for _ in range(depth - 1)])

    def forward(self, x):
        return self.blocks(x)


class ResNetV2(nn.Module):
    """Names as timm's resnetv2_50; three depths make the patch network, four with `classes` the classifier."""

    def __init__(self, width, depths, stem, classes=None):
        super().__init__()
        self.stem_kernel = stem
        self.stem = nn.ModuleDict({"conv": stem_conv(width, stem)})
        c_in, stages = width, []
        for i, depth in enumerate(depths):
            mid = width << i
            stages.append(Stage(c_in, mid, depth, 1 if i == 0 else 2))
            c_in = mid * 4
        self.stages = nn.ModuleList(stages)
        self.norm = nn.BatchNorm2d(c_in)
        if classes is not None:
            self.head = nn.ModuleDict({"fc": nn.Conv2d(c_in, classes, 1)})

    def forward(self, x):
        x = self.stem["conv"](x)
        if self.stem_kernel == 7:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages:
            x = stage(x)
        x = relu(self.norm(x)).mean((2, 3), keepdim=True)
        return self.head["fc"](x).flatten(1) if hasattr(self, "head") else x.flatten(1)


class Bottleneck(nn.Module):
    """v1.5: convolution, norm, ReLU; the stride is on the 3x3 convolution."""

    def __init__(self, c_in, mid, stride):
        super().__init__()
        c_out = mid * 4
        self.conv1, self.bn1 = nn.Conv2d(c_in, mid, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv2, self.bn2 = nn.Conv2d(mid, mid, 3, stride, 1, bias=False), nn.BatchNorm2d(mid)
        self.conv3, self.bn3 = nn.Conv2d(mid, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        a = relu(self.bn1(self.conv1(x)))
        a = relu(self.bn2(self.conv2(a)))
        return relu(self.bn3(self.conv3(a)) + shortcut)


class ResNetV15(nn.Module):
    """Names as torchvision's resnet50."""

    def __init__(self, width, depths, stem, classes):
        super().__init__()
        self.stem_kernel = stem
        self.conv1, self.bn1 = stem_conv(width, stem), nn.BatchNorm2d(width)
        c_in = width
        for i, depth in enumerate(depths):
            mid = width << i
            first = Bottleneck(c_in, mid, 1 if i == 0 else 2)
            setattr(self, f"layer{i + 1}", nn.Sequential(first, *[Bottleneck(mid * 4, mid, 1) for _ in range(depth - 1)]))
            c_in = mid * 4
        self.fc = nn.Linear(c_in, classes)

    def forward(self, x):
        x = relu(self.bn1(self.conv1(x)))
        if self.stem_kernel == 7:
            x = F.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def stem_conv(width, kernel):
    return nn.Conv2d(3, width, 3, 1, 1, bias=False) if kernel == 3 else nn.Conv2d(3, width, 7, 2, 3, bias=False)


class Selfie(nn.Module):
    """Patch network, attention pooling (post-LN unless `norm_first`), pointer decoder with the scale 1/sqrt(D)."""

    def __init__(self, a):
        super().__init__()
        self.patch = 8 if a.images == 32 else 32
        self.grid = a.images // self.patch
        n_patches = self.grid**2
        self.n_targets = n_patches // 4
        self.patch_network = ResNetV2(a.width, a.depths, stem=3 if a.images == 32 else 7)
        d = a.width * 16
        self.u0 = nn.Parameter(torch.randn(d) * 0.02)
        if a.images == 32:
            self.pos = nn.Parameter(torch.randn(n_patches, d) * 0.02)
        else:
            self.row = nn.Parameter(torch.randn(self.grid, d) * 0.02)
            self.col = nn.Parameter(torch.randn(self.grid, d) * 0.02)
        layer = nn.TransformerEncoderLayer(d, a.heads, a.ffn, 0.0, "gelu", batch_first=True, norm_first=a.norm_first)
        final_norm = nn.LayerNorm(d) if a.final_norm else None
        self.attention_pooling = nn.TransformerEncoder(layer, a.layers, final_norm, enable_nested_tensor=False)

    def positions(self):
        return self.pos if hasattr(self, "pos") else (self.row[:, None] + self.col[None]).flatten(0, 1)

    def forward(self, x, order):
        """x: [B, 3, H, W]; order: [B, N], a permutation of the patches per image whose first T entries are the targets."""
        b, g, p, n, t = x.shape[0], self.grid, self.patch, self.grid**2, self.n_targets
        patches = x.unfold(2, p, p).unfold(3, p, p).permute(0, 2, 3, 1, 4, 5).reshape(b * n, 3, p, p)
        h = self.patch_network(patches).view(b, n, -1)
        pos, target, context = self.positions(), order[:, :t], order[:, t:]

        def pick(idx):
            return h.gather(1, idx[..., None].expand(-1, -1, h.shape[-1]))

        sequence = torch.cat([self.u0.expand(b, 1, -1), pick(context) + pos[context]], 1)
        u = self.attention_pooling(sequence)[:, :1]
        return (u + pos[target]) @ pick(target).transpose(1, 2) / math.sqrt(h.shape[-1])


def randomize(net):
    """Moves every vector off its default and draws each attention layer anew (nn.TransformerEncoder copies one layer)."""
    for module in net.modules():
        if isinstance(module, nn.MultiheadAttention):
            nn.init.xavier_uniform_(module.in_proj_weight)
            nn.init.uniform_(module.in_proj_bias, -0.3, 0.3)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        if getattr(module, "bias", None) is not None and isinstance(module.bias, nn.Parameter):
            nn.init.uniform_(module.bias, -0.3, 0.3)


def state(net, prefix, keep):
    return {f"{prefix}.{k}": v.detach().clone() for k, v in net.state_dict().items() if keep(k)}


def random_images(a):
    """Values that an f32 holds exactly, so that the file may store them in half the space."""
    return torch.randn(a.batch, 3, a.images, a.images, dtype=torch.float64).float()


def save(out, path, config):
    save_file({k: v.detach().contiguous() for k, v in out.items()}, path, metadata={"config": json.dumps(config)})
    print(json.dumps(dict(wrote=path, tensors=len(out))))


def config_of(a):
    return {k: v for k, v in vars(a).items() if k not in ("run", "out")}


# ---------------------------------------------------------------- pretrain, classifier


def pretext_loss(net, x, order, a):
    logits = net(x, order)
    t = net.n_targets
    return logits, F.cross_entropy(logits.reshape(-1, t).to(x.dtype), torch.arange(t).repeat(a.batch))


def autocast_distance(net, loss_of):
    """How far all gradients together, computed under bf16 autocast, are from `net`'s in f64: |difference| / |f64's|."""
    global nearest_to_kink
    exact = nearest_to_kink
    half = copy.deepcopy(net).float()
    half.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(half)
    nearest_to_kink = exact
    loss.backward()
    pairs = [(p.grad, q.grad) for p, q in zip(net.parameters(), half.parameters())]
    far = sum((p - q.double()).square().sum() for p, q in pairs)
    return (far / sum(p.square().sum() for p, _ in pairs)).sqrt()


def pretrain(a):
    net = Selfie(a).double()
    randomize(net)
    out = state(net, "weight", lambda k: "num_batches" not in k)
    x = random_images(a)
    order = torch.rand(a.batch, net.grid**2).argsort(1)
    logits, loss = pretext_loss(net, x.double(), order, a)
    loss.backward()
    out["autocast.distance"] = autocast_distance(net, lambda half: pretext_loss(half, x, order, a)[1]).reshape(1)
    out |= {"input.images_nchw": x, "input.order": order, "output.logits": logits, "output.loss": loss.reshape(1)}
    out |= {f"grad.{k}": p.grad for k, p in net.named_parameters()}
    return out | state(net, "after", lambda k: "running" in k)


def classifier(a):
    build = ResNetV2 if a.architecture == "v2" else ResNetV15
    net = build(a.width, a.depths, a.stem, a.classes).double()
    randomize(net)
    out = state(net, "weight", lambda k: "num_batches" not in k)
    x, labels = random_images(a), torch.randint(0, a.classes, (a.batch,))
    with torch.no_grad():
        eval_logits = net.eval()(x.double())
    loss_of = lambda logits: F.cross_entropy(logits, labels, label_smoothing=a.label_smoothing)
    logits = net.train()(x.double())
    loss = loss_of(logits)
    loss.backward()
    out["autocast.distance"] = autocast_distance(net, lambda half: loss_of(half(x).float())).reshape(1)
    out |= {"input.images_nchw": x, "input.labels": labels}
    out |= {"output.eval_logits": eval_logits, "output.logits": logits, "output.loss": loss.reshape(1)}
    out |= {f"grad.{k}": p.grad for k, p in net.named_parameters()}
    return out | state(net, "after", lambda k: "running" in k)


# ---------------------------------------------------------------- ops


class Cases:
    """Collects the tensors and constants of single operations under the case's name."""

    def __init__(self):
        self.tensors, self.constants = {}, {}

    def put(self, case, **groups):
        for kind, named in groups.items():
            self.tensors |= {f"{case}.{kind}.{k}": v.detach().clone() for k, v in named.items()}

    def differentiate(self, case, f, inputs, weights=None, **constants):
        """Records y = f(**inputs, **weights) and the gradients of sum(y * dy), dy drawn at random."""
        weights = weights or {}
        for v in [*inputs.values(), *weights.values()]:
            v.requires_grad_(v.is_floating_point())
        y = f(**inputs, **weights)
        dy = torch.randn_like(y)
        y.backward(dy)
        grads = {k: v.grad for k, v in {**inputs, **weights}.items() if v.grad is not None}
        self.put(case, input={**inputs, "dy": dy}, weight=weights, output={"y": y}, grad=grads)
        self.constants[case] = constants


def rand(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def uniform(lo, hi, *shape):
    return torch.empty(*shape, dtype=torch.float64).uniform_(lo, hi)


def conv_cases(cases):
    shapes = {
        # case: (B, C_in, H, W), C_out, kernel, stride, padding
        "conv1x1_s1": ((2, 5, 4, 3), 7, 1, 1, 0),
        "conv1x1_s2": ((2, 5, 7, 5), 3, 1, 2, 0),
        "conv3x3_s1": ((2, 5, 7, 9), 3, 3, 1, 1),
        "conv3x3_s2": ((2, 5, 7, 10), 9, 3, 2, 1),
        "conv7x7_s2": ((1, 3, 13, 16), 5, 7, 2, 3),
    }
    for case, (shape, c_out, kernel, stride, padding) in shapes.items():
        cases.differentiate(
            case,
            lambda x, w, s=stride, p=padding: F.conv2d(x, w, stride=s, padding=p),
            {"x": rand(*shape)},
            {"w": rand(c_out, shape[1], kernel, kernel)},
            kernel=kernel,
            stride=stride,
            padding=padding,
        )


def norm_and_pool_cases(cases):
    for case, shape, relu in [("batch_norm", (3, 5, 4, 3), False), ("batch_norm_relu", (2, 7, 3, 5), True)]:
        c, momentum, eps = shape[1], 0.1, 1e-5
        mean, var = uniform(-0.2, 0.2, c), uniform(0.5, 1.5, c)
        x = rand(*shape) * 1.5 + 0.7
        scale, bias = uniform(0.5, 1.5, c), uniform(-0.3, 0.3, c)
        activation = F.relu if relu else lambda y: y
        y = activation(F.batch_norm(x, mean, var, scale, bias, False, momentum, eps))
        cases.put(case, weight={"running_mean": mean, "running_var": var}, output={"eval_y": y})
        cases.differentiate(
            case,
            lambda x, scale, bias: activation(F.batch_norm(x, mean, var, scale, bias, True, momentum, eps)),
            {"x": x},
            {"scale": scale, "bias": bias},
            momentum=momentum,
            eps=eps,
            relu=relu,
        )
        cases.put(case, after={"running_mean": mean, "running_var": var})
    pool = lambda x: F.max_pool2d(x, 3, 2, 1)
    cases.differentiate("max_pool", pool, {"x": rand(2, 3, 7, 10)}, kernel=3, stride=2, padding=1)
    average = lambda x: x.mean((2, 3))
    cases.differentiate("global_average_pool", average, {"x": rand(2, 5, 3, 4)})
    cases.differentiate("average_pool_2x2", lambda x: F.avg_pool2d(x, 2), {"x": rand(2, 3, 6, 4)}, kernel=2, stride=2)
    cases.differentiate(
        "layer_norm",
        lambda x, scale, bias: F.layer_norm(x, (11,), scale, bias, 1e-5),
        {"x": rand(3, 5, 11) * 2 + 0.5},
        {"scale": uniform(0.5, 1.5, 11), "bias": uniform(-0.3, 0.3, 11)},
        eps=1e-5,
    )


def dense_cases(cases):
    cases.differentiate("gelu", lambda x: F.gelu(x), {"x": rand(4, 7) * 2})
    cases.differentiate("linear", lambda x, w, b: F.linear(x, w, b), {"x": rand(3, 4, 5)}, {"w": rand(7, 5), "b": rand(7)})
    d, heads = 12, 3
    attention = nn.MultiheadAttention(d, heads, batch_first=True).double()
    randomize(attention)
    x = rand(2, 5, d).requires_grad_()
    y, _ = attention(x, x, x, need_weights=False)
    dy = torch.randn_like(y)
    y.backward(dy)
    weights = dict(attention.named_parameters())
    grads = {k: v.grad for k, v in weights.items()} | {"x": x.grad}
    cases.put("attention", input={"x": x, "dy": dy}, weight=weights, output={"y": y}, grad=grads)
    cases.constants["attention"] = {"heads": heads}
    for smoothing in (0.0, 0.1):
        logits, labels = (rand(6, 5) * 3).requires_grad_(), torch.randint(0, 5, (6,))
        loss = F.cross_entropy(logits, labels, label_smoothing=smoothing)
        loss.backward()
        case = "cross_entropy_smoothed" if smoothing else "cross_entropy"
        cases.put(case, input={"logits": logits, "labels": labels}, output={"loss": loss.reshape(1)}, grad={"logits": logits.grad})
        cases.constants[case] = {"label_smoothing": smoothing}


def optimizer_cases(cases):
    """Three steps of given gradients; `after.N.NAME` is the parameter after step N (1-based)."""
    # Two groups, as training has them: matrices decay, vectors do not. Learning rates change per step, as under a schedule.
    sgd = dict(momentum=0.9, nesterov=True)
    adamw = dict(betas=(0.9, 0.98), eps=1e-6)
    for case, build, constants, decay in [
        ("sgd_nesterov", torch.optim.SGD, sgd, 0.05),
        ("adamw", torch.optim.AdamW, adamw, 0.1),
        ("sgd_nesterov_clipped", torch.optim.SGD, sgd, 0.05),
    ]:
        max_norm = 1.5 if case.endswith("clipped") else None
        params = {"matrix": nn.Parameter(rand(3, 5)), "vector": nn.Parameter(rand(7))}
        groups = [{"params": [params["matrix"]], "weight_decay": decay}, {"params": [params["vector"]], "weight_decay": 0.0}]
        lrs = [0.1, 0.07, 0.02]
        optimizer = build(groups, lr=lrs[0], **constants)
        cases.put(case, weight=params)
        for step, lr in enumerate(lrs, start=1):
            for p in params.values():
                p.grad = torch.randn_like(p)
            cases.put(case, input={f"{step}.{k}": p.grad for k, p in params.items()})
            if max_norm is not None:
                norm = nn.utils.clip_grad_norm_(params.values(), max_norm)
                cases.put(case, output={f"{step}.norm": norm.reshape(1)})
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            cases.put(case, after={f"{step}.{k}": p for k, p in params.items()})
        cases.constants[case] = {**constants, "weight_decay": {"matrix": decay, "vector": 0.0}, "lr": lrs, "max_norm": max_norm}


def ops(a):
    torch.manual_seed(a.seed)
    cases = Cases()
    conv_cases(cases)
    norm_and_pool_cases(cases)
    dense_cases(cases)
    optimizer_cases(cases)
    save(cases.tensors, a.out, {"seed": a.seed, "cases": cases.constants})


# ---------------------------------------------------------------- arguments


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(required=True)

    g = sub.add_parser("pretrain", help="the pretraining network")
    g.set_defaults(run=partial(away_from_kinks, pretrain))
    g.add_argument("--images", type=int, default=32, choices=[32, 224], help="32: 8-px patches; 224: 32-px patches")
    g.add_argument("--depths", type=int, nargs=3, default=[3, 4, 6])
    g.add_argument("--heads", type=int, default=4)
    g.add_argument("--ffn", type=int, default=64)
    g.add_argument("--layers", type=int, default=3)
    g.add_argument("--norm-first", action="store_true", help="pre-LN attention pooling")
    g.add_argument("--final-norm", action="store_true", help="a layer norm after the last attention layer")

    c = sub.add_parser("classifier", help="a v2 or v1.5 classifier")
    c.set_defaults(run=partial(away_from_kinks, classifier))
    c.add_argument("--architecture", choices=["v2", "v15"], default="v2")
    c.add_argument("--images", type=int, default=32)
    c.add_argument("--stem", type=int, choices=[3, 7], default=3, help="7: stride 2 and the max-pool")
    c.add_argument("--depths", type=int, nargs=4, default=[3, 4, 6, 3])
    c.add_argument("--classes", type=int, default=5)
    c.add_argument("--label-smoothing", type=float, default=0.0)

    for s in (g, c):
        s.add_argument("--width", type=int, default=8)
        s.add_argument("--batch", type=int, default=3)

    o = sub.add_parser("ops", help="single operations and optimizers")
    o.set_defaults(run=ops)

    for s in (g, c, o):
        s.add_argument("--seed", type=int, default=0)
        s.add_argument("--out", required=True)
    return p.parse_args()


if __name__ == "__main__":
    args = arguments()
    args.run(args)
