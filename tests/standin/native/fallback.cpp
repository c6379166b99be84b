#include "fallback.h"

#include "call.h"
#include "transfers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <mutex>
#include <unordered_map>

namespace standin {
namespace {

std::mutex& calls_mutex() {
  static auto* const mutex = new std::mutex();
  return *mutex;
}

std::unordered_map<std::string, int64_t>& call_counts() {
  static auto* const counts = new std::unordered_map<std::string, int64_t>();
  return *counts;
}

void count(const c10::OperatorHandle& op) {
  const std::lock_guard<std::mutex> lock(calls_mutex());
  ++call_counts()[toString(op.operator_name())];
}

// A number in the answer, as of item(): the host waits for the device.
bool answers_the_host(const c10::FunctionSchema& schema) {
  for (const auto& answer : schema.returns()) {
    const auto kind = answer.type()->kind();
    if (kind != c10::TypeKind::TensorType && kind != c10::TypeKind::ListType &&
        kind != c10::TypeKind::OptionalType) {
      return true;
    }
  }
  return false;
}

// Lends a device generator's state to the CPU's default generator, for kernels that take no
// generator (native_dropout).
class Lent {
 public:
  explicit Lent(const at::Generator& drawn)
      : drawn_(drawn), cpu_(at::detail::getDefaultCPUGenerator()), before_(cpu_.get_state()) {
    cpu_.set_state(drawn_.get_state());
  }
  ~Lent() {
    drawn_.set_state(cpu_.get_state());
    cpu_.set_state(before_);
  }
  Lent(const Lent&) = delete;
  Lent& operator=(const Lent&) = delete;

 private:
  at::Generator drawn_;
  at::Generator cpu_;
  at::Tensor before_;
};

} // namespace

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  count(op);
  Call call(op);
  call.to_cpu(*stack);
  answers_the_host(op.schema()) ? synchronize() : reach_device();
  {
    const at::AutoDispatchBelowADInplaceOrView guard;
    std::optional<Lent> lent;
    if (op.hasTag(at::Tag::nondeterministic_seeded) && !call.takes_generator()) {
      lent.emplace(call.default_generator());
    }
    op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  }
  call.to_device(*stack);
}

c10::Dict<std::string, int64_t> calls() {
  const std::lock_guard<std::mutex> lock(calls_mutex());
  c10::Dict<std::string, int64_t> found;
  for (const auto& [name, number] : call_counts()) {
    found.insert(name, number);
  }
  return found;
}

void reset_calls() {
  const std::lock_guard<std::mutex> lock(calls_mutex());
  call_counts().clear();
}

namespace {

// Where the CPU has a kernel of its own and other devices a composition of operators
// (native_layer_norm, silu_backward), the stand-in takes the CPU's, whose bits differ.
void prefer_cpu_kernels() {
  using c10::DispatchKey;
  static auto* const library = new torch::Library(
      torch::Library::IMPL, "aten", DispatchKey::PrivateUse1, __FILE__, __LINE__);
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getAllOpNames()) {
    const auto op = dispatcher.findSchema(name);
    if (name.name.rfind("aten::", 0) == 0 && op.has_value() &&
        op->hasKernelForDispatchKey(DispatchKey::CPU) &&
        (op->hasKernelForDispatchKey(DispatchKey::CompositeExplicitAutograd) ||
         op->hasKernelForDispatchKey(DispatchKey::CompositeImplicitAutograd)) &&
        !op->hasKernelForDispatchKey(DispatchKey::PrivateUse1)) {
      library->impl(toString(name).c_str(), torch::CppFunction::makeFromBoxedFunction<&fallback>());
    }
  }
}

const bool preferred = [] {
  prefer_cpu_kernels();
  return true;
}();

} // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

} // namespace standin
