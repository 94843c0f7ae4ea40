"""Muon for the matrices, AdamW for the embedding and the norms."""

import collections

import torch


def orthogonalise(stack):
    """Newton-Schulz on a stack of same-shaped matrices: singular values pushed towards 1."""
    x = stack.bfloat16()
    tall = x.size(1) > x.size(2)
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.mT if tall else x).float()


class Optimizer:
    def __init__(self, model, muon_lr=0.02, adam_lr=0.004, momentum=0.95, compiled=False):
        self.muon_lr, self.adam_lr, self.momentum = muon_lr, adam_lr, momentum
        self.others, self.parameters = model.others(), list(model.parameters())
        fused = self.parameters[0].is_cuda
        self.adam = torch.optim.AdamW(
            self.others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=fused
        )
        self.groups = collections.defaultdict(list)
        for p in model.matrices():
            self.groups[tuple(p.shape)].append(p)
        self.velocity = {
            s: torch.zeros(len(ps), *s, device=ps[0].device) for s, ps in self.groups.items()
        }
        self._orthogonalise = (
            torch.compile(orthogonalise, dynamic=False) if compiled else orthogonalise
        )

    def warm_up(self):
        """Compiles what there is to compile, and changes nothing."""
        for v in self.velocity.values():
            self._orthogonalise(v)

    @torch.no_grad()
    def step(self, scale):
        """One update at `scale` times the base learning rates; clears the gradients."""
        torch.nn.utils.clip_grad_norm_(self.others, 1.0, foreach=True)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_lr * scale
        self.adam.step()
        for shape, ps in self.groups.items():
            gradient = torch.stack([p.grad for p in ps])
            velocity = self.velocity[shape]
            velocity.lerp_(gradient, 1 - self.momentum)
            update = self._orthogonalise(gradient.lerp(velocity, self.momentum))
            update *= self.muon_lr * scale * max(1, shape[0] / shape[1]) ** 0.5
            torch._foreach_sub_([p.data for p in ps], list(update.unbind(0)))
        self.clear()

    def clear(self):
        for p in self.parameters:
            p.grad = None
