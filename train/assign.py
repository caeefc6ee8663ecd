"""Which cells of the detector answer for which person, and the loss that follows (TOOD, Feng et al., ICCV 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CANDIDATES = 10
BOX_WEIGHT = 4.0


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union [..., M, A] of boxes a [..., M, 4] and b [..., A, 4], x1 y1 x2 y2."""
    low = torch.maximum(a[..., :, None, :2], b[..., None, :, :2])
    high = torch.minimum(a[..., :, None, 2:], b[..., None, :, 2:])
    overlap = (high - low).clamp_min(0).prod(-1)
    area_a = (a[..., 2:] - a[..., :2]).clamp_min(0).prod(-1)
    area_b = (b[..., 2:] - b[..., :2]).clamp_min(0).prod(-1)
    return overlap / (area_a[..., :, None] + area_b[..., None, :] - overlap).clamp_min(1e-6)


def generalized_iou_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """1 - GIoU [P] of paired boxes [P, 4] (Rezatofighi et al., CVPR 2019)."""
    overlap = (
        (torch.minimum(predicted[:, 2:], target[:, 2:]) - torch.maximum(predicted[:, :2], target[:, :2]))
        .clamp_min(0)
        .prod(1)
    )
    areas = (predicted[:, 2:] - predicted[:, :2]).prod(1) + (target[:, 2:] - target[:, :2]).prod(1)
    union = (areas - overlap).clamp_min(1e-6)
    hull = torch.maximum(predicted[:, 2:], target[:, 2:]) - torch.minimum(predicted[:, :2], target[:, :2])
    hull_area = hull.prod(1).clamp_min(1e-6)
    return 1 - overlap / union + (hull_area - union) / hull_area


@torch.no_grad()
def assign(scores: Tensor, boxes: Tensor, centres: Tensor, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Task-aligned assignment of cells to people (section 3.2).

    scores [N, A] from 0 to 1, boxes [N, A, 4] px, centres [A, 2] px, truth [N, M, 5] (x1 y1 x2 y2, 0 person /
    1 ignore / -1 nothing). Returns the target score [N, A], the person's index [N, A] (where the score is above 0)
    and whether the cell counts as background or person at all [N, A] (False inside a region to be ignored).
    """
    low, high = truth[..., None, :2], truth[..., None, 2:4]
    inside = ((centres > low) & (centres < high)).all(-1)
    person = truth[..., 4:5] == 0
    overlap = pairwise_iou(truth[..., :4], boxes) * (inside & person)
    alignment = scores[:, None, :].sqrt() * overlap**6
    count = min(CANDIDATES, alignment.shape[2])
    threshold = alignment.topk(count, dim=2).values[..., -1:]
    candidate = (alignment >= threshold) & (alignment > 0)
    alignment = alignment * candidate
    best_overlap, owner = (overlap * candidate).max(1)
    owned = candidate & (torch.arange(truth.shape[1], device=truth.device)[None, :, None] == owner[:, None, :])
    alignment = alignment * owned
    strongest = alignment.amax(2, keepdim=True).clamp_min(1e-12)
    target = (alignment / strongest * (overlap * owned).amax(2, keepdim=True)).amax(1)
    ignored = (inside & (truth[..., 4:5] == 1)).any(1)
    return target, owner, (best_overlap > 0) | ~ignored


def detector_loss(raw: Tensor, boxes: Tensor, centres: Tensor, truth: Tensor) -> Tensor:
    """The loss, a scalar: cross entropy of scores against aligned targets and GIoU of the assigned boxes.

    raw [N, A, 5] and boxes [N, A, 4] of the network, centres [A, 2], truth [N, M, 5] as for `assign`.
    """
    logits = raw[..., 0].float()
    target, owner, counts = assign(logits.detach().sigmoid(), boxes.detach(), centres, truth)
    total = target.sum().clamp_min(1)
    focus = (logits.detach().sigmoid() - target).abs().clamp_min(0.05)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    score_loss = (entropy * focus * counts).sum() / total
    positive = target > 0
    image = torch.arange(truth.shape[0], device=truth.device)[:, None].expand_as(owner)[positive]
    matched = truth[image, owner[positive], :4]
    box_loss = (generalized_iou_loss(boxes[positive], matched) * target[positive]).sum() / total
    return score_loss * 4 + BOX_WEIGHT * box_loss
