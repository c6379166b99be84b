#include "transfers.h"

#include "aliases.h"

#include <ATen/ops/empty_like.h>

#include <cstring>
#include <deque>
#include <mutex>

namespace standin {
namespace {

// A copy that was asked for with non_blocking=True. The host's side is touched when it takes
// effect; the tensors are kept until then.
struct Pending {
  at::Tensor source;
  at::Tensor destination;
  bool to_device;
};

std::recursive_mutex& queue_mutex() {
  static auto* const mutex = new std::recursive_mutex();
  return *mutex;
}

std::deque<Pending>& queue() {
  static auto* const pending = new std::deque<Pending>();
  return *pending;
}

void finish(size_t count) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  for (; count > 0; --count) {
    const Pending next = std::move(queue().front());
    queue().pop_front();
    next.destination.copy_(next.source);
  }
}

void fill_with_garbage(const at::Tensor& host) {
  const at::Tensor garbage = at::empty_like(host);
  if (garbage.storage().nbytes()) {
    std::memset(garbage.storage().mutable_data(), 0xFF, garbage.storage().nbytes());
  }
  host.copy_(garbage);
}

int64_t bytes(const at::Tensor& tensor) {
  return static_cast<int64_t>(tensor.nbytes());
}

void copy_to_device(const at::Tensor& source, const at::Tensor& destination, bool later) {
  counters().bytes_to_device += bytes(source);
  if (later) {
    queue().push_back({source, on_cpu(destination), true});
  } else {
    on_cpu(destination).copy_(source);
  }
}

// The device's memory is read in order, before the kernels that follow; only the host waits.
void copy_to_host(const at::Tensor& source, const at::Tensor& destination, bool later) {
  counters().bytes_to_host += bytes(source);
  if (later) {
    fill_with_garbage(destination);
    queue().push_back({on_cpu(source).clone(), destination, false});
  } else {
    destination.copy_(on_cpu(source));
  }
}

} // namespace

Counters& counters() {
  static auto* const all = new Counters();
  return *all;
}

void copy(const at::Tensor& source, const at::Tensor& destination, bool non_blocking) {
  const std::lock_guard<std::recursive_mutex> lock(queue_mutex());
  const at::AutoDispatchBelowADInplaceOrView guard;
  if (source.is_cpu() && destination.is_privateuseone()) {
    if (!non_blocking) {
      synchronize();
    }
    copy_to_device(source, destination, non_blocking);
  } else if (source.is_privateuseone() && destination.is_cpu()) {
    non_blocking ? reach_device() : synchronize();
    copy_to_host(source, destination, non_blocking);
  } else {
    TORCH_CHECK(
        source.is_privateuseone() && destination.is_privateuseone(), "standin: no copy from ",
        source.device(), " to ", destination.device());
    reach_device();
    on_cpu(destination).copy_(on_cpu(source));
  }
}

void reach_device() {
  const std::lock_guard<std::recursive_mutex> lock(queue_mutex());
  size_t count = queue().size();
  while (count > 0 && !queue()[count - 1].to_device) {
    --count;
  }
  finish(count);
}

void synchronize() {
  const std::lock_guard<std::recursive_mutex> lock(queue_mutex());
  finish(queue().size());
}

bool idle() {
  const std::lock_guard<std::recursive_mutex> lock(queue_mutex());
  return queue().empty();
}

} // namespace standin
