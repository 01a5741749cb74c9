"""Linear layers and convolutions that are quick on a CPU; with gradients and on other devices they are torch's own.

* A 3×3 convolution of many channels is done by Winograd's minimal filtering, which takes a quarter of the
  multiplications (winograd.py); a 1×1 convolution is a matrix product.
* Where the processor cannot multiply bfloat16 or float16, torch emulates it, six to eighty times slower than float32
  (measured on AVX2). There weights stay in half precision, and each layer computes in float32 and rounds its result.

Parameters and their names are those of `nn.Linear` and `nn.Conv2d`.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from components.torch_models.winograd import pays, winograd_conv

HALVES = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}


class Linear(nn.Linear):
    """`nn.Linear`, in float32 where the processor has no half precision."""

    def forward(self, x: Tensor) -> Tensor:
        if not _ours(x) or not emulated(x.dtype):
            return super().forward(x)
        return F.linear(x.float(), self.weight.float(), _float(self.bias)).to(x.dtype)


class Convolution(nn.Conv2d):
    """`nn.Conv2d` of zero padding, quicker."""

    def forward(self, x: Tensor) -> Tensor:
        if not _ours(x):
            return super().forward(x)
        kernel, (stride, _), (padding, _) = self.kernel_size, self.stride, self.padding
        single = x.dtype == torch.float32 or emulated(x.dtype)
        if single and kernel == (3, 3) and stride == 1 and padding == 1 and pays(x, self.out_channels):
            return winograd_conv(x, self.weight, self.bias)
        if kernel == (1, 1) and stride == 1 and x.is_contiguous(memory_format=torch.channels_last):
            return self._product(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        weight, bias = self.weight, self.bias
        if emulated(x.dtype):
            weight, bias = weight.float(), _float(bias)
        if weight.is_contiguous() and weight.numel() > x.numel():  # layouts that differ cost a large weight dear
            x, like = x.contiguous(), x
            out = F.conv2d(x.to(weight.dtype), weight, bias, self.stride, self.padding)
            return out.to(x.dtype, memory_format=_layout(like))
        return F.conv2d(x.to(weight.dtype), weight, bias, self.stride, self.padding).to(x.dtype)

    def _product(self, x: Tensor) -> Tensor:
        """(…, in_channels) to (…, out_channels) with the 1×1 kernel."""
        weight, bias = self.weight.flatten(1), self.bias
        if emulated(x.dtype):
            return F.linear(x.float(), weight.float(), _float(bias)).to(x.dtype)
        return F.linear(x, weight, bias)


def free() -> bool:
    """Whether a tensor that nobody reads again may be overwritten: it may, unless a gradient could be asked for."""
    return not torch.is_grad_enabled()


@cache
def emulated(dtype: torch.dtype) -> bool:
    """Whether this processor has no instructions for a half-precision dtype."""
    return dtype in HALVES and not getattr(torch.ops.mkldnn, HALVES[dtype])()


def _ours(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _layout(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


def _float(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()
