// One call of an operator, whose tensors go to the CPU and come back.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <vector>

namespace standin {

class Call {
 public:
  explicit Call(const c10::OperatorHandle& op) : schema_(op.schema()) {}

  // Replaces the device's tensors by CPU tensors over the same memory, its generators by those that
  // draw for them, and the device by the CPU. Refuses what a kernel of one device cannot take.
  void to_cpu(torch::jit::Stack& stack);

  // Replaces the results on the stack: what a kernel changed or viewed is the device's again, and
  // what it made moves there.
  void to_device(torch::jit::Stack& stack);

  bool takes_generator() const {
    return takes_generator_;
  }
  at::Generator default_generator() const;

 private:
  struct Lent {
    at::Tensor device;
    at::Tensor cpu;
    bool written;
  };
  struct LentStorage {
    c10::Storage device;
    c10::Storage cpu;
  };

  void settle_device(const torch::jit::Stack& stack, size_t first);
  void see(const c10::IValue& value);
  void see(const at::Tensor& tensor);
  c10::IValue cpu_value(const c10::IValue& value, const c10::Argument& argument);
  at::Tensor cpu_tensor(const at::Tensor& tensor, const c10::Argument& argument);
  c10::Storage cpu_storage(const c10::Storage& storage);
  at::Generator cpu_generator(const c10::IValue& value) const;
  bool may_stay(const at::Tensor& tensor, const c10::Argument& argument) const;

  void follow(const Lent& lent);
  c10::IValue device_value(const c10::IValue& value);
  at::Tensor device_tensor(const at::Tensor& tensor);
  c10::Storage device_storage(const c10::Storage& storage);

  const c10::FunctionSchema& schema_;
  std::optional<c10::Device> device_;
  std::vector<Lent> tensors_;
  std::vector<LentStorage> storages_;
  bool takes_generator_ = false;
};

} // namespace standin
