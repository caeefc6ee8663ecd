"""DARK, the distribution-aware coordinate representation (Zhang et al., CVPR 2020): encode and decode of heatmaps.

The decode is the module that is exported: it runs inside every engine.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Array = npt.NDArray[np.floating[Any]]


def encode(
    joints: Array,
    visible: Array,
    input_size: tuple[int, int],
    heatmap_size: tuple[int, int],
    sigma: float,
    unbiased: bool = True,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Target heatmaps [K, H, W] and weights [K] of joints [K, 2] in input px with visibility [K] (0: unknown).

    Sizes are (width, height). `unbiased` keeps the sub-pixel centre (DARK, section 3.3), else the centre is rounded
    and the Gaussian cut at 3 sigma. A joint further than 3 sigma outside the map gets weight 0 and an empty map.
    """
    width, height = heatmap_size
    stride = np.asarray(input_size, np.float64) / np.asarray(heatmap_size, np.float64)
    centres = np.asarray(joints, np.float64)[:, :2] / stride
    if not unbiased:
        centres = np.trunc(centres + 0.5)
    weights = np.asarray(visible, np.float32).reshape(-1).copy()
    radius = 3.0 * sigma
    outside = (centres - radius >= (width, height)) | (centres + radius + 1 < 0)
    weights[outside.any(axis=1)] = 0
    across = np.arange(width) - centres[:, :1]
    down = np.arange(height) - centres[:, 1:]
    columns = np.exp(-(across**2) / (2 * sigma**2))
    rows = np.exp(-(down**2) / (2 * sigma**2))
    if not unbiased:
        columns[np.abs(across) > radius] = 0
        rows[np.abs(down) > radius] = 0
    rows[weights <= 0.5] = 0
    return (rows[:, :, None] * columns[:, None, :]).astype(np.float32), weights


def gaussian_taps(kernel: int) -> list[float]:
    """The taps of OpenCV's Gaussian of that odd size, whose sigma is 0.3 ((k - 1) / 2 - 1) + 0.8."""
    if kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"expected an odd kernel of at least 3, got {kernel}")
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    taps = [math.exp(-((i - kernel // 2) ** 2) / (2 * sigma**2)) for i in range(kernel)]
    return [tap / sum(taps) for tap in taps]


class DarkDecode(nn.Module):
    """Heatmaps [N, K, H, W] -> points [N, K, 2] (x, y in heatmap px) and scores [N, K] (the raw maxima).

    DARK section 3.2: blur, logarithm, one Newton step from the maximum. Only the window that the step reads is
    blurred exactly, (kernel + 4)^2 px round each maximum, which equals the blur of the whole map. A maximum nearer
    than 2 px to the border, or a singular Hessian, keeps its integer place; a map without a positive value gives
    (-1, -1). As in MMPose 0.29 the blurred map is brought to the old maximum before the logarithm's floor, even where
    its own maximum is negative.
    """

    taps: Tensor
    window: Tensor

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("taps", torch.tensor(gaussian_taps(kernel)), persistent=False)
        self.register_buffer("window", torch.arange(kernel + 4) - (kernel // 2 + 2), persistent=False)

    def forward(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        heatmaps = heatmaps.float()
        width, height = heatmaps.shape[3], heatmaps.shape[2]
        # The row of the maximum, then its column: engines sort for an argmax, and a whole map is long to sort.
        y = heatmaps.amax(3).argmax(2)
        row = heatmaps.gather(2, y[:, :, None, None].expand(-1, -1, 1, width)).squeeze(2)
        x, scores = row.argmax(2), row.amax(2)
        factor = scores / self._blurred_maximum(heatmaps)
        window = self._blurred_window(heatmaps, x, y) * factor[:, :, None, None]
        log_blurred = window.clamp_min(1e-10).log()
        offset = _newton_step(log_blurred)
        inside = (x >= 2) & (x <= width - 3) & (y >= 2) & (y <= height - 3)
        points = torch.stack((x, y), 2).float()
        points = torch.where(inside.unsqueeze(2), points + offset, points)
        return torch.where((scores > 0).unsqueeze(2), points, torch.full_like(points, -1.0)), scores

    def _blurred_maximum(self, heatmaps: Tensor) -> Tensor:
        """The maxima [N, K] of the blurred heatmaps, 1 instead of 0.

        Depthwise convolutions, which some engines run in TF32 or bfloat16: a factor cancels in the derivatives of the
        logarithm, so all that rests on it is which values lie at the logarithm's floor. No matrix product, as TensorRT
        for RTX has none in float32 for Turing (SM75).
        """
        keypoints, radius = int(heatmaps.shape[1]), self.kernel // 2
        taps = self.taps.expand(keypoints, 1, 1, self.kernel)
        blurred = functional.conv2d(heatmaps, taps.transpose(2, 3), padding=(radius, 0), groups=keypoints)
        blurred = functional.conv2d(blurred, taps, padding=(0, radius), groups=keypoints)
        maximum = blurred.amax((2, 3))
        return maximum.masked_fill(maximum == 0, 1.0)

    def _blurred_window(self, heatmaps: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """The blurred heatmaps [N, K, 5, 5] round (x, y); zero beyond the border."""
        height, width, size = heatmaps.shape[2], heatmaps.shape[3], self.kernel + 4
        rows, columns = y.unsqueeze(2) + self.window, x.unsqueeze(2) + self.window
        # What lies outside is read somewhere inside and blanked: cheaper than a border round every map.
        row_inside = ((rows >= 0) & (rows < height)).float()
        column_inside = ((columns >= 0) & (columns < width)).float()
        places = (rows.clamp(0, height - 1) * width).unsqueeze(3) + columns.clamp(0, width - 1).unsqueeze(2)
        count, keypoints = x.shape[0], heatmaps.shape[1]
        window = heatmaps.flatten(2).gather(2, places.flatten(2)).reshape(count, keypoints, size, size)
        window = window * row_inside.unsqueeze(3) * column_inside.unsqueeze(2)
        # Multiply and sum, no matrix product: that would run in TF32 or bfloat16 on some engines.
        window = torch.stack([(window[..., i : i + self.kernel] * self.taps).sum(3) for i in range(5)], 3)
        taps = self.taps.unsqueeze(1)
        return torch.stack([(window[:, :, i : i + self.kernel] * taps).sum(2) for i in range(5)], 2)


def _newton_step(log_map: Tensor) -> Tensor:
    """The step [N, K, 2] (x, y) from the middle of log-heatmap windows [N, K, 5, 5] to the Taylor fit's maximum."""
    at = log_map.unbind(2)
    rows = [row.unbind(2) for row in at]
    centre = rows[2][2]
    dx = 0.5 * (rows[2][3] - rows[2][1])
    dy = 0.5 * (rows[3][2] - rows[1][2])
    dxx = 0.25 * (rows[2][4] - 2 * centre + rows[2][0])
    dyy = 0.25 * (rows[4][2] - 2 * centre + rows[0][2])
    dxy = 0.25 * (rows[3][3] - rows[1][3] - rows[3][1] + rows[1][1])
    determinant = dxx * dyy - dxy * dxy
    singular = determinant == 0
    divisor = determinant.masked_fill(singular, 1.0)
    step = torch.stack((dxy * dy - dyy * dx, dxy * dx - dxx * dy), 2) / divisor.unsqueeze(2)
    return step.masked_fill(singular.unsqueeze(2), 0.0)


def decode(heatmaps: Tensor, kernel: int) -> tuple[Tensor, Tensor]:
    """`DarkDecode(kernel)` as a function: [N, K, H, W] -> points [N, K, 2] in heatmap px, scores [N, K]."""
    points, scores = DarkDecode(kernel).to(heatmaps.device)(heatmaps)
    return points, scores


def decode_quarter_offset(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """The decode that DARK replaced (DARK section 3.1): the maximum, moved a quarter px towards its higher neighbours.

    [N, K, H, W] -> points [N, K, 2] in heatmap px, scores [N, K]. It is here to be compared with; no engine runs it.
    """
    height, width = heatmaps.shape[2:]
    flat = heatmaps.float().flatten(2)
    scores, place = flat.amax(2), flat.argmax(2)
    x, y = place % width, place // width
    inside = (x >= 2) & (x <= width - 2) & (y >= 2) & (y <= height - 2)
    safe = torch.where(inside, place, 2 * width + 2)

    def difference(step: int) -> Tensor:
        return flat.gather(2, (safe + step).unsqueeze(2)) - flat.gather(2, (safe - step).unsqueeze(2))

    quarter = 0.25 * torch.cat((difference(1), difference(width)), 2).sign()
    points = torch.stack((x, y), 2) + quarter * inside.unsqueeze(2)
    return torch.where((scores > 0).unsqueeze(2), points, torch.full_like(points, -1.0)), scores
