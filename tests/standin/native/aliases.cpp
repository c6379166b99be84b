#include "aliases.h"

#include "memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/core/DeviceGuard.h>

#include <cstring>

namespace standin {

c10::Storage storage_on_cpu(const c10::Storage& storage) {
  // Keeps the device's memory until the last alias is gone. With an allocator, so that a kernel can
  // resize it: it then leaves the memory of the device.
  auto release = [](void* kept) { delete static_cast<c10::Storage*>(kept); };
  c10::DataPtr memory(readable(storage.data()), new c10::Storage(storage), release, c10::kCPU);
  return c10::Storage(
      c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(memory), c10::GetCPUAllocator(),
      true);
}

c10::Storage storage_on_device(const c10::Storage& storage, c10::Device device) {
  const c10::DeviceGuard guard(device);
  c10::Storage made(
      c10::Storage::use_byte_size_t(), storage.nbytes(), allocator().allocate(storage.nbytes()),
      &allocator(), true);
  if (storage.nbytes()) {
    std::memcpy(readable(made.data()), storage.data(), storage.nbytes());
  }
  return made;
}

at::Tensor over(const c10::Storage& storage, const at::Tensor& like) {
  const auto key = storage.device_type() == c10::kCPU ? c10::DispatchKey::CPU
                                                      : c10::DispatchKey::PrivateUse1;
  auto made = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(key), like.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(
      like.sizes(), like.strides(), like.storage_offset());
  return made;
}

at::Tensor on_cpu(const at::Tensor& tensor) {
  return over(storage_on_cpu(tensor.storage()), tensor);
}

} // namespace standin
