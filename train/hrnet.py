"""HRNet (Sun et al., CVPR 2019): branches of four resolutions side by side, exchanged again and again.

Layer names are those of the published checkpoints (MMPose), which therefore load by key.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from train.resnet import EXPANSION, bottlenecks

BLOCKS_A_BRANCH = 4
MODULES = (1, 4, 3)  # of stages 2, 3 and 4


class BasicBlock(nn.Module):
    """Two 3x3 convolutions round a shortcut; the shape stays, [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(y)) + x)
        return result


def halve(inputs: int, outputs: int, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution of stride 2."""
    layers = [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def fusion(source: int, target: int, channels: Sequence[int]) -> nn.Module:
    """What brings branch `source` to the shape of branch `target` (0: the highest resolution)."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            nn.Conv2d(channels[source], channels[target], 1, bias=False),
            nn.BatchNorm2d(channels[target]),
            nn.Upsample(scale_factor=2 ** (source - target), mode="nearest"),
        )
    steps = [halve(channels[source], channels[source]) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, halve(channels[source], channels[target], relu=False))


class Exchange(nn.Module):
    """Four basic blocks on each branch, then every branch becomes the sum of all; the last one gives only the first."""

    def __init__(self, channels: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(BLOCKS_A_BRANCH))) for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(fusion(source, target, channels) for source in range(len(channels)))
            for target in range(outputs)
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for row in self.fuse_layers:
            assert isinstance(row, nn.ModuleList)
            parts = [layer(x) for layer, x in zip(row, features, strict=True)]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(self.relu(total))
        return fused


def transition(inputs: Sequence[int], outputs: Sequence[int]) -> nn.ModuleList:
    """The layers between two stages: one for each branch afterwards; the last one starts a new resolution."""
    layers: list[nn.Module] = []
    for branch, width in enumerate(outputs):
        if branch >= len(inputs):
            layers.append(nn.Sequential(halve(inputs[-1], width)))
        elif inputs[branch] == width:
            layers.append(nn.Identity())
        else:
            layers.append(
                nn.Sequential(
                    nn.Conv2d(inputs[branch], width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                )
            )
    return nn.ModuleList(layers)


class HRNetBackbone(nn.Module):
    """Normalised RGB image [N, 3, h, w] -> features [N, width, h/4, w/4]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.conv2 = nn.Conv2d(64, 64, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = bottlenecks(64, 64, 4)
        widths = [width * 2**branch for branch in range(4)]
        self.transition1 = transition([64 * EXPANSION], widths[:2])
        self.stage2 = self._stage(widths[:2], MODULES[0])
        self.transition2 = transition(widths[:2], widths[:3])
        self.stage3 = self._stage(widths[:3], MODULES[1])
        self.transition3 = transition(widths[:3], widths)
        self.stage4 = self._stage(widths, MODULES[2], last=True)

    @staticmethod
    def _stage(widths: Sequence[int], modules: int, last: bool = False) -> nn.Sequential:
        outputs = [len(widths)] * (modules - 1) + [1 if last else len(widths)]
        return nn.Sequential(*(Exchange(widths, count) for count in outputs))

    def forward(self, image: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(image)))
        x = self.relu(self.bn2(self.conv2(x)))
        features = [self.layer1(x)]
        for layers, stage in (
            (self.transition1, self.stage2),
            (self.transition2, self.stage3),
            (self.transition3, self.stage4),
        ):
            # A new branch starts from the lowest resolution there is.
            given = features + [features[-1]] * (len(layers) - len(features))
            features = stage([layer(x) for layer, x in zip(layers, given, strict=True)])
        highest: Tensor = features[0]
        return highest


class HeatmapHead(nn.Module):
    """Features [N, C, H, W] -> heatmaps [N, K, H, W] by a 1x1 convolution."""

    def __init__(self, inputs: int, keypoints: int) -> None:
        super().__init__()
        self.final_layer = nn.Conv2d(inputs, keypoints, 1)

    def forward(self, features: Tensor) -> Tensor:
        heatmaps: Tensor = self.final_layer(features)
        return heatmaps


class HRNet(nn.Module):
    """Normalised RGB crops [N, 3, h, w] -> heatmaps [N, K, h/4, w/4]; width 32 or 48."""

    def __init__(self, width: int, keypoints: int) -> None:
        super().__init__()
        self.backbone = HRNetBackbone(width)
        self.keypoint_head = HeatmapHead(width, keypoints)

    def forward(self, image: Tensor) -> Tensor:
        heatmaps: Tensor = self.keypoint_head(self.backbone(image))
        return heatmaps
