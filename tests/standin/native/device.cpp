// What torch asks of an accelerator: its devices, its one stream, pinned memory and generators.
#include "generator.h"
#include "memory.h"
#include "transfers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/DeviceGuard.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace standin {
namespace {

// The same seed gives other numbers than on the CPU, as on any real accelerator.
constexpr uint64_t kSalt = 0x7374616e64696e;

class Generator final : public c10::GeneratorImpl {
 public:
  explicit Generator(c10::DeviceIndex device, at::Generator inner)
      : c10::GeneratorImpl(
            c10::Device(c10::kPrivateUse1, device),
            c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        inner(std::move(inner)) {}

  void set_current_seed(uint64_t seed) override {
    inner.set_current_seed(seed ^ kSalt);
  }
  uint64_t current_seed() const override {
    return inner.current_seed() ^ kSalt;
  }
  uint64_t seed() override {
    return inner.seed() ^ kSalt;
  }
  void set_offset(uint64_t offset) override {
    inner.set_offset(offset);
  }
  uint64_t get_offset() const override {
    return inner.get_offset();
  }
  void set_state(const c10::TensorImpl& state) override {
    inner.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }

  at::Generator inner;

 private:
  Generator* clone_impl() const override {
    return new Generator(device().index(), inner.clone());
  }
};

c10::DeviceIndex resolved(c10::DeviceIndex device) {
  return device < 0 ? static_cast<c10::DeviceIndex>(current_device()) : device;
}

// Pinned blocks by their first address.
class Pinned final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* address = bytes ? std::aligned_alloc(64, (bytes + 63) / 64 * 64) : nullptr;
    if (address) {
      std::memset(address, 0xFF, bytes);
      const std::lock_guard<std::mutex> lock(mutex_);
      blocks_[address] = bytes;
      counters().pinned_allocations += 1;
      counters().pinned_bytes += static_cast<int64_t>(bytes);
    }
    return {address, address, &release, c10::kCPU};
  }
  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
  bool holds(const void* address) {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto after = blocks_.upper_bound(const_cast<void*>(address));
    if (after == blocks_.begin()) {
      return false;
    }
    const auto& [start, size] = *std::prev(after);
    return static_cast<const char*>(address) < static_cast<char*>(start) + size;
  }
  static Pinned& only() {
    static auto* const allocator = new Pinned();
    return *allocator;
  }

 private:
  static void release(void* address) {
    if (address) {
      const std::lock_guard<std::mutex> lock(only().mutex_);
      only().blocks_.erase(address);
      std::free(address);
    }
  }

  std::mutex mutex_;
  std::map<void*, size_t> blocks_;
};

class Hooks final : public at::PrivateUse1HooksInterface {
 public:
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(c10::DeviceIndex) const override {
    return true;
  }
  c10::DeviceIndex deviceCount() const override {
    return static_cast<c10::DeviceIndex>(device_count());
  }
  c10::DeviceIndex getCurrentDevice() const override {
    return static_cast<c10::DeviceIndex>(current_device());
  }
  void setCurrentDevice(c10::DeviceIndex device) const override {
    set_current_device(device);
  }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    const auto before = getCurrentDevice();
    set_current_device(device);
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override {
    return exchangeDevice(device);
  }
  bool isPinnedPtr(const void* address) const override {
    return Pinned::only().holds(address);
  }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    return &Pinned::only();
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex device) const override {
    return default_generator(device);
  }
  at::Generator getNewGenerator(c10::DeviceIndex device) const override {
    return new_generator(device);
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    const c10::DeviceGuard guard(storage.device());
    c10::DataPtr grown = allocator().allocate(bytes);
    const size_t kept = std::min(bytes, storage.nbytes());
    if (kept) {
      allocator().copy_data(grown.get(), storage.data(), kept);
    }
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(grown));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
};

// One stream per device; an event is the time at which it was recorded.
class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  using Clock = std::chrono::steady_clock;

  c10::DeviceType type() const override {
    return c10::kPrivateUse1;
  }
  c10::Device getDevice() const override {
    return c10::Device(c10::kPrivateUse1, static_cast<c10::DeviceIndex>(current_device()));
  }
  void setDevice(c10::Device device) const override {
    if (device.has_index()) {
      set_current_device(device.index());
    }
  }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    setDevice(device);
    return before;
  }
  void uncheckedSetDevice(c10::Device device) const noexcept override {
    setDevice(device);
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return static_cast<c10::DeviceIndex>(device_count());
  }
  c10::DeviceCapability getDeviceCapability(c10::Device) const override {
    return {};
  }
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device.has_index() ? device : getDevice());
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return getStream(device);
  }
  c10::Stream getNewStream(c10::Device device, int) const override {
    return getStream(device);
  }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override {
    return getStream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return stream;
  }
  bool queryStream(const c10::Stream&) const override {
    return idle();
  }
  void synchronizeStream(const c10::Stream&) const override {
    synchronize();
  }
  void synchronizeDevice(c10::DeviceIndex) const override {
    synchronize();
  }
  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    if (!*event) {
      *event = new Clock::time_point();
    }
    *static_cast<Clock::time_point*>(*event) = Clock::now();
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override {
    return idle();
  }
  void synchronizeEvent(void*) const override {
    synchronize();
  }
  double elapsedTime(void* from, void* to, c10::DeviceIndex) const override {
    return std::chrono::duration<double, std::milli>(
               *static_cast<Clock::time_point*>(to) - *static_cast<Clock::time_point*>(from))
        .count();
  }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override {
    delete static_cast<Clock::time_point*>(event);
  }
};

const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

} // namespace

at::Generator new_generator(c10::DeviceIndex device) {
  auto made = at::make_generator<Generator>(resolved(device), at::detail::createCPUGenerator());
  made.set_current_seed(c10::default_rng_seed_val);
  return made;
}

const at::Generator& default_generator(c10::DeviceIndex device) {
  static auto* const all = [] {
    auto* made = new std::vector<at::Generator>();
    for (int index = 0; index < device_count(); ++index) {
      made->push_back(new_generator(static_cast<c10::DeviceIndex>(index)));
    }
    return made;
  }();
  return all->at(static_cast<size_t>(resolved(device)));
}

at::Generator drawn_by(const at::Generator& generator) {
  return generator.get<Generator>()->inner;
}

} // namespace standin
