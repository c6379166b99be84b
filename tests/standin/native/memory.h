// The memory of the stand-in device: an address range per device that no host code can read, and
// the same range again, readable, for the kernels.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/ScalarType.h>

#include <cstddef>

namespace standin {

int device_count();
int current_device();
void set_current_device(int device);

// The address at which a kernel reads what the device has at `address`; null stays null.
void* readable(const void* address);

c10::DeviceAllocator& allocator();

// Refuses float64 where STANDIN_NO_FLOAT64 is set, as Apple's mps does.
void check_dtype(c10::ScalarType dtype);

} // namespace standin
