// The operators that the fallback cannot do: making tensors and copying them; views, for speed; and
// what Python asks of the device beyond torch.accelerator.
#include "aliases.h"
#include "fallback.h"
#include "generator.h"
#include "memory.h"
#include "transfers.h"

#include <ATen/EmptyTensor.h>
#include <ATen/native/transformers/attention.h>
#include <ATen/ops/_fused_sdp_choice.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/DeviceGuard.h>

namespace standin {
namespace {

using c10::DispatchKey;
using c10::DispatchKeySet;
using Optional = std::optional<c10::ScalarType>;

c10::ScalarType checked(Optional dtype, std::optional<bool> pin_memory) {
  TORCH_CHECK(!pin_memory.value_or(false), "Only dense CPU tensors can be pinned");
  const auto kind = dtype.value_or(c10::get_default_dtype_as_scalartype());
  check_dtype(kind);
  return kind;
}

at::Tensor empty(
    c10::IntArrayRef size, Optional dtype, std::optional<c10::Layout>,
    std::optional<c10::Device> device, std::optional<bool> pin_memory,
    std::optional<c10::MemoryFormat> memory_format) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_generic(
      size, &allocator(), DispatchKeySet(DispatchKey::PrivateUse1), checked(dtype, pin_memory),
      memory_format);
}

at::Tensor empty_strided(
    c10::IntArrayRef size, c10::IntArrayRef stride, Optional dtype, std::optional<c10::Layout>,
    std::optional<c10::Device> device, std::optional<bool> pin_memory) {
  const c10::OptionalDeviceGuard guard(device);
  return at::detail::empty_strided_generic(
      size, stride, &allocator(), DispatchKeySet(DispatchKey::PrivateUse1),
      checked(dtype, pin_memory));
}

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& destination, bool non_blocking) {
  copy(source, destination, non_blocking);
  return destination;
}

at::Tensor copy_from_and_resize(const at::Tensor& source, const at::Tensor& destination) {
  destination.resize_(source.sizes());
  copy(source, destination, false);
  return destination;
}

void record_stream(at::Tensor&, c10::Stream) {}

// The attention that the CPU would choose, so that results agree in every bit.
int64_t attention_choice(
    const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
    const std::optional<at::Tensor>& mask, double dropout, bool is_causal,
    std::optional<double> scale, bool enable_gqa) {
  std::optional<at::Tensor> cpu_mask;
  if (mask.has_value() && mask->defined()) {
    cpu_mask = on_cpu(*mask);
    cpu_mask->set_requires_grad(mask->requires_grad());
  }
  return at::_fused_sdp_choice(
      on_cpu(query), on_cpu(key), on_cpu(value), cpu_mask, dropout, is_causal, scale, enable_gqa);
}

c10::Dict<std::string, int64_t> all_counters() {
  c10::Dict<std::string, int64_t> found = calls();
  found.insert("bytes_to_device", counters().bytes_to_device);
  found.insert("bytes_to_host", counters().bytes_to_host);
  found.insert("pinned_allocations", counters().pinned_allocations);
  found.insert("pinned_bytes", counters().pinned_bytes);
  return found;
}

void reset_counters() {
  reset_calls();
  counters().bytes_to_device = 0;
  counters().bytes_to_host = 0;
  counters().pinned_allocations = 0;
  counters().pinned_bytes = 0;
}

} // namespace

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("record_stream", record_stream);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("view", at::native::view);
  library.impl("_reshape_alias", at::native::_reshape_alias);
}

TORCH_LIBRARY(standin, library) {
  library.def("device_count", [] { return int64_t{device_count()}; });
  library.def("generator", [](int64_t device) {
    return default_generator(static_cast<c10::DeviceIndex>(device));
  });
  library.def("counters", all_counters);
  library.def("reset_counters", reset_counters);
}

} // namespace standin

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &standin::attention_choice)
} // namespace at::native
