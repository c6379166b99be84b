// torch.autocast: the products run in the lower precision, everything else as it is.
#include <ATen/core/Tensor.h>
#include <torch/library.h>

namespace at::autocast {
TORCH_API at::ScalarType get_autocast_dtype(at::DeviceType device_type);
} // namespace at::autocast

namespace standin {
namespace {

at::Tensor lowered(const at::Tensor& tensor) {
  const bool casts = tensor.defined() && tensor.is_privateuseone() &&
      tensor.is_floating_point() && tensor.scalar_type() != at::kDouble;
  return casts ? tensor.to(at::autocast::get_autocast_dtype(at::kPrivateUse1)) : tensor;
}

void lower(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKey::AutocastPrivateUse1);
  for (size_t back = 0; back < op.schema().arguments().size(); ++back) {
    c10::IValue& value = *(stack->rbegin() + static_cast<std::ptrdiff_t>(back));
    if (value.isTensor()) {
      value = lowered(value.toTensor());
    }
  }
  op.callBoxed(stack);
}

} // namespace

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, library) {
  for (const char* name :
       {"mm", "bmm", "addmm", "baddbmm", "matmul", "linear", "scaled_dot_product_attention"}) {
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&lower>());
  }
}

} // namespace standin
