// Operators that GPUs have and the CPU lacks, or has under another name.
#include "aliases.h"
#include "transfers.h"

#include <ATen/ops/convolution.h>
#include <ATen/ops/histc.h>
#include <torch/library.h>

namespace standin {
namespace {

// GPUs count whole numbers too: the tokens of each expert.
at::Tensor histc(
    const at::Tensor& self, int64_t bins, const c10::Scalar& low, const c10::Scalar& high) {
  reach_device();
  const bool whole = c10::isIntegralType(self.scalar_type(), false);
  const auto numbers = whole ? on_cpu(self).to(c10::kDouble) : on_cpu(self);
  return at::histc(numbers, bins, low, high).to(self.scalar_type()).to(self.device());
}

// What a device that torch was not built for has in the place of convolution.
at::Tensor convolution(
    const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
    c10::IntArrayRef stride, c10::IntArrayRef padding, c10::IntArrayRef dilation, bool transposed,
    c10::IntArrayRef output_padding, int64_t groups) {
  reach_device();
  std::optional<at::Tensor> added;
  if (bias.has_value() && bias->defined()) {
    TORCH_CHECK(
        bias->device() == input.device(), "Expected all tensors to be on the same device");
    added = on_cpu(*bias);
  }
  TORCH_CHECK(
      weight.device() == input.device(), "Expected all tensors to be on the same device");
  return at::convolution(
             on_cpu(input), on_cpu(weight), added, stride, padding, dilation, transposed,
             output_padding, groups)
      .to(input.device());
}

} // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("histc", histc);
  library.impl("convolution_overrideable", convolution);
}

} // namespace standin
