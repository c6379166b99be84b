// Fake tensors of device `cuda` in a torch that was built without CUDA: indexing one asks for a
// guard of the device, which then does nothing.

#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

const bool registered = [] {
  using c10::DeviceType;
  if (c10::impl::hasDeviceGuardImpl(DeviceType::CUDA)) {
    return false;
  }
  static const c10::impl::NoOpDeviceGuardImpl<DeviceType::CUDA> guard;
  c10::impl::device_guard_impl_registry[static_cast<size_t>(DeviceType::CUDA)].store(&guard);
  return true;
}();

}  // namespace
