"""How far parameters kept in bf16 can move under the published optimiser settings.

    python scripts/audit/bf16_updates.py [--checkpoint coda_adapters.pt]

AdamW with the published learning rates and warm-up, on parameters in bf16 without an fp32 copy, for
the number of updates that 2,000 and 600 micro-steps of 8 make (250 and 75). The gradient always
points the same way, the most that AdamW can be moved: about the learning rate an update. Beside it
fp32. With --checkpoint: in how many layers of that file the three parameters are where they began.
"""

import common
import torch

# name in the file, initial value, learning rate, updates with it, weight decay
PARAMETERS = {
    "lambda bias": ("lambda_proj.bias", -6.0, 1e-3, 325, 0.0),
    "gate bias": ("write_proj.bias", -2.0, 5e-5, 75, 0.01),
    "EMA rate logit": ("summary_eta_logit", -3.0, 5e-5, 75, 0.01),
}
WARM_UP = 100


def moved(dtype, start, rate, updates, decay):
    parameter = torch.nn.Parameter(torch.full((8,), start, dtype=dtype))
    optimiser = torch.optim.AdamW([parameter], lr=rate, weight_decay=decay)
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / WARM_UP, 1.0, WARM_UP)
    for _ in range(updates):
        parameter.grad = torch.full_like(parameter, -1.0)
        optimiser.step()
        warm.step()
    return float((parameter.detach() - start).abs().max())


def unmoved_layers(path):
    layers = torch.load(path, map_location="cpu", weights_only=True)
    found = {}
    for name, (suffix, start, *_) in PARAMETERS.items():
        tensors = [tensor for layer in layers.values() for key, tensor in layer.items()
                   if key.endswith(suffix)]
        found[name] = (sum(bool((t.float() == start).all()) for t in tensors), len(tensors))
    return found


def main():
    args = common.parser(__doc__)
    args.add_argument("--checkpoint", help="the published adapters")
    args = args.parse_args()
    values, rows = {}, []
    for name, (_, *settings) in PARAMETERS.items():
        bf16, fp32 = moved(torch.bfloat16, *settings), moved(torch.float32, *settings)
        key = name.replace(" ", "_")
        values |= {f"{key}.bf16": bf16, f"{key}.fp32": fp32, f"{key}.stuck": bf16 == 0}
        rows.append([name, settings[0], settings[1], settings[2], bf16, fp32])
    common.table(["parameter", "starts at", "learning rate", "updates", "moved in bf16",
                  "moved in fp32"], rows)
    if args.checkpoint:
        for name, (unmoved, layers) in unmoved_layers(args.checkpoint).items():
            print(f"{args.checkpoint}: {name} unmoved in {unmoved} of {layers} layers")
    common.write(args.json, values, torch=torch.__version__)


main()
