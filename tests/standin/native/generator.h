// The device's random numbers.
#pragma once

#include <ATen/core/Generator.h>

namespace standin {

at::Generator new_generator(c10::DeviceIndex device);
const at::Generator& default_generator(c10::DeviceIndex device);

// The CPU generator that draws a device generator's numbers.
at::Generator drawn_by(const at::Generator& generator);

} // namespace standin
