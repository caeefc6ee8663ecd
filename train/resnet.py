"""SimpleBaseline (Xiao et al., ECCV 2018): a ResNet under three transposed convolutions.

Layer names are those of the published checkpoints (MMPose), which therefore load by key.
"""

from __future__ import annotations

from torch import Tensor, nn

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolution round a shortcut: [N, C, H, W] -> [N, 4 width, H/s, W/s]."""

    def __init__(self, inputs: int, width: int, stride: int = 1) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        result: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return result


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """What brings a block's input to the shape of its output; None where it has it already."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


def bottlenecks(inputs: int, width: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` bottlenecks, the first with the stride."""
    blocks = [Bottleneck(inputs, width, stride)]
    blocks += [Bottleneck(width * EXPANSION, width) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


class ResNet(nn.Module):
    """Normalised RGB image [N, 3, h, w] -> features [N, 2048, h/32, w/32]."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"no ResNet of depth {depth}: expected one of {', '.join(map(str, BLOCKS))}")
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        counts = BLOCKS[depth]
        self.layer1 = bottlenecks(64, 64, counts[0])
        self.layer2 = bottlenecks(256, 128, counts[1], 2)
        self.layer3 = bottlenecks(512, 256, counts[2], 2)
        self.layer4 = bottlenecks(1024, 512, counts[3], 2)

    def forward(self, image: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(image))))
        features: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return features


class DeconvolutionHead(nn.Module):
    """Features [N, 2048, h, w] -> heatmaps [N, K, 8h, 8w]."""

    def __init__(self, inputs: int, keypoints: int, width: int = 256) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels in (inputs, width, width):
            layers += [
                nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer = nn.Conv2d(width, keypoints, 1)

    def forward(self, features: Tensor) -> Tensor:
        heatmaps: Tensor = self.final_layer(self.deconv_layers(features))
        return heatmaps


class SimpleBaseline(nn.Module):
    """Normalised RGB crops [N, 3, h, w] -> heatmaps [N, K, h/4, w/4]; depth 50, 101 or 152."""

    def __init__(self, depth: int, keypoints: int) -> None:
        super().__init__()
        self.backbone = ResNet(depth)
        self.keypoint_head = DeconvolutionHead(512 * EXPANSION, keypoints)

    def forward(self, image: Tensor) -> Tensor:
        heatmaps: Tensor = self.keypoint_head(self.backbone(image))
        return heatmaps
