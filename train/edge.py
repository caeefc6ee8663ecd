"""The edge pose networks: MobileNetV2 under a light top-down head, heatmaps at a quarter of the input."""

from __future__ import annotations

from torch import Tensor, nn

from train.mobile import MobileTrunk


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU; the size stays."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)
    )


class EdgePose(nn.Module):
    """Normalised RGB crops [N, 3, h, w] -> heatmaps [N, K, h/4, w/4]; h and w are multiples of 32.

    The features of strides 32, 16, 8 and 4 are added up from coarse to fine (feature pyramid, Lin et al. 2017), with
    a 3x3 convolution after each sum. Only convolutions, ReLU, additions and nearest-neighbour upsampling.
    """

    def __init__(self, keypoints: int = 17, widths: tuple[int, int, int] = (128, 96, 32), trunk: float = 1.0) -> None:
        """trunk: its width."""
        super().__init__()
        self.trunk = MobileTrunk(trunk)
        stride4, stride8, stride16, stride32 = self.trunk.channels
        wide, middle, narrow = widths
        self.lateral32 = nn.Conv2d(stride32, wide, 1)
        self.lateral16 = nn.Conv2d(stride16, wide, 1)
        self.lateral8 = nn.Conv2d(stride8, middle, 1)
        self.lateral4 = nn.Conv2d(stride4, narrow, 1)
        self.smooth16 = conv_bn_relu(wide, middle)
        self.smooth8 = conv_bn_relu(middle, narrow)
        self.smooth4 = conv_bn_relu(narrow, narrow)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.final = nn.Conv2d(narrow, keypoints, 1)
        nn.init.normal_(self.final.weight, std=0.001)
        nn.init.zeros_(self.final.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        stride4, stride8, stride16, stride32 = self.trunk(image)
        x = self.smooth16(self.upsample(self.lateral32(stride32)) + self.lateral16(stride16))
        x = self.smooth8(self.upsample(x) + self.lateral8(stride8))
        x = self.smooth4(self.upsample(x) + self.lateral4(stride4))
        heatmaps: Tensor = self.final(x)
        return heatmaps
