#include "memory.h"

#include "transfers.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace standin {
namespace {

using c10::CachingAllocator::StatArray;
using c10::CachingDeviceAllocator::DeviceStats;

constexpr size_t kAlignment = 512;
constexpr size_t kPage = 4096;
constexpr size_t kReturned = size_t{1} << 20; // freed blocks from this size go back to the system

thread_local int current = 0;

size_t from_environment(const char* name, size_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::stoull(text) : otherwise;
}

// Bytes of each device.
size_t capacity() {
  static const size_t bytes =
      from_environment("STANDIN_MEMORY", size_t{2} << 30) / kPage * kPage;
  return bytes;
}

size_t all_devices() {
  return capacity() * static_cast<size_t>(device_count());
}

// The first half is out of bounds for everyone; the second half is the memory itself, which the
// system backs with pages as they are written.
char* arena() {
  static char* const start = [] {
    void* range = mmap(
        nullptr, 2 * all_devices(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TORCH_CHECK(range != MAP_FAILED, "the stand-in's memory cannot be reserved");
    char* second = static_cast<char*>(range) + all_devices();
    TORCH_CHECK(mprotect(second, all_devices(), PROT_READ | PROT_WRITE) == 0, "mprotect failed");
    return static_cast<char*>(range);
  }();
  return start;
}

std::string mebibytes(size_t bytes) {
  return c10::str(static_cast<double>(bytes) / (1 << 20), " MiB");
}

// One device: free and used blocks by offset.
class Heap {
 public:
  explicit Heap(int device) : device_(device) {
    free_[0] = capacity();
  }

  // Null where no free block is large enough.
  char* take(size_t requested) {
    std::lock_guard<std::mutex> lock(mutex_);
    const size_t size = (requested + kAlignment - 1) / kAlignment * kAlignment;
    for (auto block = free_.begin(); block != free_.end(); ++block) {
      if (block->second < size) {
        continue;
      }
      const size_t offset = block->first;
      const size_t rest = block->second - size;
      free_.erase(block);
      if (rest) {
        free_[offset + size] = rest;
      }
      used_[offset] = {size, requested};
      in_use_ += size;
      for (StatArray* counted : {&stats_.allocation, &stats_.active, &stats_.segment}) {
        counted->at(0).increase(1);
      }
      for (StatArray* bytes : {&stats_.allocated_bytes, &stats_.active_bytes, &stats_.reserved_bytes}) {
        bytes->at(0).increase(size);
      }
      stats_.requested_bytes.at(0).increase(requested);
      return start() + offset;
    }
    return nullptr;
  }

  void give_back(char* address) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto block = used_.find(address - start());
    TORCH_INTERNAL_ASSERT(block != used_.end());
    const auto [size, requested] = block->second;
    used_.erase(block);
    in_use_ -= size;
    for (StatArray* counted : {&stats_.allocation, &stats_.active, &stats_.segment}) {
      counted->at(0).decrease(1);
    }
    for (StatArray* bytes : {&stats_.allocated_bytes, &stats_.active_bytes, &stats_.reserved_bytes}) {
      bytes->at(0).decrease(size);
    }
    stats_.requested_bytes.at(0).decrease(requested);
    return_pages(address, size);
    insert_free(address - start(), size);
  }

  [[noreturn]] void refuse(size_t requested) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.num_ooms;
    TORCH_CHECK_WITH(
        OutOfMemoryError, false,
        "standin out of memory. Tried to allocate ", mebibytes(requested), ". Device ", device_,
        " has a total capacity of ", mebibytes(capacity()), " of which ",
        mebibytes(capacity() - in_use_), " is free.");
  }

  DeviceStats stats() {
    std::lock_guard<std::mutex> lock(mutex_);
    return stats_;
  }

  void reset(void (c10::CachingAllocator::Stat::*which)()) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (StatArray* array :
         {&stats_.allocation, &stats_.active, &stats_.segment, &stats_.allocated_bytes,
          &stats_.active_bytes, &stats_.reserved_bytes, &stats_.requested_bytes}) {
      (array->at(0).*which)();
    }
  }

  std::pair<size_t, size_t> free_and_total() {
    std::lock_guard<std::mutex> lock(mutex_);
    return {capacity() - in_use_, capacity()};
  }

 private:
  struct Used {
    size_t size;
    size_t requested;
  };

  char* start() const {
    return arena() + static_cast<size_t>(device_) * capacity();
  }

  static void return_pages(char* address, size_t size) {
    if (size < kReturned) {
      return;
    }
    const auto begin = reinterpret_cast<uintptr_t>(readable(address));
    const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
    const uintptr_t last = (begin + size) / kPage * kPage;
    madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
  }

  // Neighbouring free blocks become one.
  void insert_free(size_t offset, size_t size) {
    auto after = free_.lower_bound(offset);
    if (after != free_.end() && after->first == offset + size) {
      size += after->second;
      after = free_.erase(after);
    }
    if (after != free_.begin()) {
      auto before = std::prev(after);
      if (before->first + before->second == offset) {
        before->second += size;
        return;
      }
    }
    free_[offset] = size;
  }

  const int device_;
  std::mutex mutex_;
  std::map<size_t, size_t> free_;
  std::map<size_t, Used> used_;
  size_t in_use_ = 0;
  DeviceStats stats_;
};

Heap& heap(int device) {
  static auto* const heaps = [] {
    auto* made = new std::vector<std::unique_ptr<Heap>>();
    for (int index = 0; index < device_count(); ++index) {
      made->push_back(std::make_unique<Heap>(index));
    }
    return made;
  }();
  return *heaps->at(static_cast<size_t>(device));
}

void release(void* address) {
  if (address) {
    const auto offset = static_cast<size_t>(static_cast<char*>(address) - arena());
    heap(static_cast<int>(offset / capacity())).give_back(static_cast<char*>(address));
  }
}

// No cache: what is freed is free at once.
class Allocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const int device = current;
    const c10::Device on(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(device));
    if (bytes == 0) {
      return {nullptr, nullptr, &release, on};
    }
    char* address = heap(device).take(bytes);
    if (!address) {
      reach_device(); // a pending copy may hold the last reference to its destination
      address = heap(device).take(bytes);
    }
    if (!address) {
      heap(device).refuse(bytes);
    }
    std::memset(readable(address), 0xFF, bytes); // NaN, so that a read before a write shows
    return {address, address, &release, on};
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(readable(to), readable(from), bytes);
  }
  bool initialized() override {
    return true;
  }
  void emptyCache(c10::MempoolId_t) override {}
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    return heap(device).stats();
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    heap(device).reset(&c10::CachingAllocator::Stat::reset_accumulated);
  }
  void resetPeakStats(c10::DeviceIndex device) override {
    heap(device).reset(&c10::CachingAllocator::Stat::reset_peak);
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    return heap(device).free_and_total();
  }
};

} // namespace

int device_count() {
  static const int count = static_cast<int>(from_environment("STANDIN_DEVICES", 1));
  return count;
}

int current_device() {
  return current;
}

void set_current_device(int device) {
  TORCH_CHECK(
      0 <= device && device < device_count(), "standin: invalid device ordinal ", device, ": ",
      device_count(), " available");
  current = device;
}

void* readable(const void* address) {
  return address ? const_cast<char*>(static_cast<const char*>(address)) + all_devices() : nullptr;
}

c10::DeviceAllocator& allocator() {
  static auto* const only = new Allocator();
  return *only;
}

void check_dtype(c10::ScalarType dtype) {
  static const bool refused = from_environment("STANDIN_NO_FLOAT64", 0) != 0;
  TORCH_CHECK_TYPE(
      !refused || dtype != c10::kDouble,
      "Cannot convert a standin tensor to float64 dtype as the device does not support float64. "
      "Please use float32 instead.");
}

const bool registered = [] {
  c10::SetAllocator(c10::kPrivateUse1, &allocator());
  return true;
}();

} // namespace standin
