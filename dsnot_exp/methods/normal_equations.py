"""The least squares problem of a linear layer, row by row, in columns of unit length.

A sparse row w' of a layer (in,) with dense row w is to have a small error (w - w') H (w - w')^T,
where H = E[a a^T] is the Gram matrix of the layer's inputs. With n = sqrt(diag H) and x = w' n:

    Hn = H / (n n^T) + damping I,    B = (w n) Hn,    the error is x Hn x^T - 2 B x^T + const

up to the damping, which keeps x near w n. Its minimum under a mask solves the normal equations
x Hn = B on the kept weights. Methods that take (Hn, B) work for any other right side B too:
`correction` gives one that makes up for the errors of the layers before.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dsnot_exp.methods.gram import multiplies_bfloat16
from dsnot_exp.methods.statistics import InputStatistics

ROUGH = 10  # steps whose products may be bfloat16


@dataclass(frozen=True)
class Normalised:
    """gram: Hn, (in, in) float32; scale: n, (in,), 0 where the input is always zero (dead)."""

    gram: Tensor
    scale: Tensor

    def scaled(self, weight: Tensor) -> Tensor:
        """w n, (out, in) float32: 0 in dead columns, so that they are pruned first."""
        return weight.float() * self.scale

    def divided(self, right: Tensor) -> Tensor:
        """right / n, (rows, in) float32: 0 in dead columns."""
        return torch.where(self.scale == 0, 0, right / self.scale)

    def restored(self, scaled: Tensor, weight: Tensor) -> Tensor:
        """x / n in the dtype of `weight`: (out, in). Dead columns, on which no calibration token
        depends, take their values from `weight`."""
        dead = self.scale == 0
        divided = scaled / self.scale.masked_fill(dead, 1)
        return torch.where(dead, weight, divided.to(weight.dtype))


def shared(statistics: InputStatistics, damping: float) -> Normalised:
    """Hn and n of an input: one Hn for all linears that share it, and for all methods. The matrix
    is damped in place, so it is valid until another method asks for it with its own damping."""
    gram, scale = statistics.unit_gram, statistics.unit
    assert gram is not None, "the method needs Statistic.NORMALISED"
    assert scale is not None
    gram.diagonal().fill_(1 + damping)
    return Normalised(gram, scale)


def right_side(problem: Normalised, weight: Tensor, statistics: InputStatistics) -> Tensor:
    """B, (rows, in) float32: of a layer with dense `weight: (rows, in)`, and with the correction
    that the dense stream asks for."""
    target = problem.scaled(weight) @ problem.gram
    pull = correction(weight, statistics)
    return target if pull is None else target.add_(problem.divided(pull))


def correction(weight: Tensor, statistics: InputStatistics) -> Tensor | None:
    """alpha W D + beta R, (rows, in) float32; None where there is no dense stream.

    The sparse layer's output y' = W' a is to come near the dense model's. With a and h the inputs
    and the residual stream that reach the layer in the sparse model, a_d and h_d in the dense one,
    y' is compared with W (a + alpha (a_d - a)) + beta (h_d - h). The normal equations then have
    W H + alpha W D + beta R on their right side, where D = E[(a_d - a) a^T] and
    R = E[(h_d - h) a^T]; R is known if the output is added to h.
    """
    target, pull = statistics.target, None
    if statistics.drift is not None:
        pull = (weight.float() @ statistics.drift).mul_(target.alpha)
    if statistics.residual_drift is not None:
        residual = statistics.residual_drift * target.beta
        pull = residual if pull is None else pull.add_(residual)
    return pull


def error_change(
    problem: Normalised, target: Tensor, dense: Tensor, before: Tensor, after: Tensor
) -> Tensor:
    """By how much the error of each row changes, but for the damping: (rows,), below 0 is better.

    target: B; dense: w n; before, after: x; (rows, in) each. With the step s = after - before, it
    is s (Hn (before + after) - 2 B)^T, less what the damping adds: one product.
    """
    damping = float(problem.gram[0, 0]) - 1
    both = after + before
    slope = torch.addmm(target, both, problem.gram, beta=-2)
    slope.sub_(both.sub_(dense, alpha=2), alpha=damping)
    return slope.mul_(after - before).sum(1)


def inverse(gram: Tensor, penalty: float, stage: str = "prune") -> Tensor:
    """P = (Hn + penalty I)^-1; gram: Hn, (in, in). Needs one such matrix: the copy of Hn becomes
    its factor, and then its inverse. Raises ArithmeticError if Hn + penalty I is not positive;
    `stage`: whose `damping` the message names."""
    copy = gram.clone()
    copy.diagonal().add_(penalty)
    columns = copy.mT  # as LAPACK stores a matrix, so that it works in place
    failed = torch.zeros((), dtype=torch.int32, device=gram.device)
    torch.linalg.cholesky_ex(columns, out=(columns, failed))
    if bool(failed):
        raise indefinite(float(gram[0, 0]) - 1 + penalty, stage)
    return torch.cholesky_inverse(columns, out=columns)


def indefinite(damping: float, stage: str = "prune") -> ArithmeticError:
    return ArithmeticError(
        f"its Gram matrix is not positive definite, even with damping {damping:g}; "
        f"raise {stage}.damping or calib.samples"
    )


def conjugate_gradient(
    gram: Tensor, target: Tensor, start: Tensor, mask: Tensor, steps: int
) -> Tensor:
    """x, (rows, in) float32, zero where `mask` is False, near the solution of x Hn = B on the mask.

    gram: Hn, (in, in), normalised and damped; target: B, start: (rows, in); mask: (rows, in) bool

    Every row takes its own `steps` steps; its error never rises. A row stops where it has
    converged, or where Hn is not positive along its direction. Costs one product (rows, in) x
    (in, in) per step and one for the first residual; holds four more matrices (rows, in). The
    diagonal of Hn is constant, so it is its own preconditioner.

    The residual that the steps start from is float32. The products of the first steps are bfloat16
    where that is faster: the layer's error is then about 1e-4 larger. Further steps are to be
    exact, and start anew from a float32 residual.
    """
    x = start.float() * mask
    rough = multiplies_bfloat16(gram.device, len(gram))
    if rough and steps > ROUGH:
        x, steps = _steps(gram, gram.bfloat16(), target, x, mask, ROUGH), steps - ROUGH
        rough = False
    return _steps(gram, gram.bfloat16() if rough else gram, target, x, mask, steps)


def _steps(
    gram: Tensor, factor: Tensor, target: Tensor, x: Tensor, mask: Tensor, steps: int
) -> Tensor:
    """conjugate_gradient from x, in place; factor: Hn as the steps multiply by it."""
    residual = torch.addmm(target.float(), x, gram, alpha=-1).mul_(mask)
    direction = residual.clone()
    square = residual.square().sum(1)  # (rows,)
    for _ in range(steps):
        image = (direction.to(factor.dtype) @ factor).float().mul_(mask)
        curvature = (direction * image).sum(1)
        step = _ratio(square, curvature)[:, None]
        x.addcmul_(direction, step)
        residual.addcmul_(image, step, value=-1)
        before, square = square, residual.square().sum(1)
        direction = torch.addcmul(residual, direction, _ratio(square, before)[:, None])
    return x


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """over / under, and 0 where `under` is not above 0: (rows,) each."""
    return torch.where(under > 0, over / under, 0)
