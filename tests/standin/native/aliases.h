// CPU tensors over the memory of device tensors: what the CPU kernels work on.
#pragma once

#include <ATen/core/Tensor.h>

namespace standin {

// A CPU storage over the memory of a device storage, which it keeps.
c10::Storage storage_on_cpu(const c10::Storage& storage);

// A device storage with what a CPU storage holds.
c10::Storage storage_on_device(const c10::Storage& storage, c10::Device device);

// A tensor over `storage` with the dtype, sizes, strides and offset of `like`.
at::Tensor over(const c10::Storage& storage, const at::Tensor& like);

at::Tensor on_cpu(const at::Tensor& tensor);

} // namespace standin
