// Copies between the host and the device, and when they take effect.
#pragma once

#include <atomic>
#include <cstdint>

namespace at {
class Tensor;
}

namespace standin {

struct Counters {
  std::atomic<int64_t> bytes_to_device{0};
  std::atomic<int64_t> bytes_to_host{0};
  std::atomic<int64_t> pinned_allocations{0};
  std::atomic<int64_t> pinned_bytes{0};
};
Counters& counters();

void copy(const at::Tensor& source, const at::Tensor& destination, bool non_blocking);

// What kernels wait for: the pending copies to the device, and what was queued before them.
void reach_device();

// Every pending copy takes effect.
void synchronize();

bool idle();

} // namespace standin
