#include "call.h"

#include "aliases.h"
#include "generator.h"
#include "memory.h"

#include <c10/core/DeviceGuard.h>

#include <unordered_set>

namespace standin {
namespace {

bool is_generator(const c10::Argument& argument) {
  auto type = argument.type();
  if (const auto optional = type->cast<c10::OptionalType>()) {
    type = optional->getElementType();
  }
  return type->kind() == c10::TypeKind::GeneratorType;
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() && argument.alias_info()->isWrite();
}

// A list of lists of tensors, which collectives take.
bool is_nested(const c10::IValue& value) {
  return value.isList() && value.toList().elementType()->kind() == c10::TypeKind::ListType;
}

template <typename Convert>
c10::IValue each(const c10::IValue& list, Convert&& convert) {
  c10::impl::GenericList converted(list.toList().elementType());
  for (const auto& element : list.toListRef()) {
    converted.push_back(convert(element));
  }
  return converted;
}

// As CUDA does, indexing takes indices that lie on the CPU.
bool are_indices(const c10::FunctionSchema& schema, const c10::Argument& argument) {
  static const std::unordered_set<std::string> indexing = {
      "aten::index", "aten::_unsafe_index", "aten::index_put", "aten::index_put_",
      "aten::_unsafe_index_put", "aten::_index_put_impl_"};
  return argument.name() == "indices" && indexing.count(schema.name());
}

} // namespace

void Call::to_cpu(torch::jit::Stack& stack) {
  const auto& arguments = schema_.arguments();
  const size_t first = stack.size() - arguments.size();
  settle_device(stack, first);
  for (size_t index = 0; index < arguments.size(); ++index) {
    stack[first + index] = cpu_value(stack[first + index], arguments[index]);
  }
}

// The device of the call: that of its first tensor there, of its storage, or of a device argument.
void Call::settle_device(const torch::jit::Stack& stack, size_t first) {
  for (size_t index = first; index < stack.size() && !device_; ++index) {
    see(stack[index]);
  }
  for (size_t index = first; index < stack.size() && !device_; ++index) {
    if (stack[index].isGenerator()) {
      TORCH_CHECK(
          false, "Expected a 'cpu' device type for generator but found '",
          stack[index].toGenerator().device().type(), "'");
    }
  }
  TORCH_CHECK(device_, "standin: ", schema_.name(), " names no device");
}

void Call::see(const c10::IValue& value) {
  if (value.isTensor()) {
    see(value.toTensor());
  } else if (value.isTensorList() || value.isOptionalTensorList() || is_nested(value)) {
    for (const auto& element : value.toListRef()) {
      see(element);
    }
  } else if (value.isStorage() && value.toStorage().device_type() == c10::kPrivateUse1) {
    device_ = value.toStorage().device();
  } else if (value.isDevice() && value.toDevice().is_privateuseone()) {
    device_ = value.toDevice();
    if (!device_->has_index()) {
      device_->set_index(static_cast<c10::DeviceIndex>(current_device()));
    }
  }
}

void Call::see(const at::Tensor& tensor) {
  if (!device_ && tensor.defined() && tensor.is_privateuseone()) {
    device_ = tensor.device();
  }
}

c10::IValue Call::cpu_value(const c10::IValue& value, const c10::Argument& argument) {
  if (is_generator(argument)) {
    takes_generator_ = true;
    return cpu_generator(value);
  }
  if (value.isTensor()) {
    return cpu_tensor(value.toTensor(), argument);
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(cpu_tensor(tensor, argument));
    }
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (const auto& element : value.toListRef()) {
      list.push_back(
          element.isNone() ? std::nullopt
                           : std::optional<at::Tensor>(cpu_tensor(element.toTensor(), argument)));
    }
    return list;
  }
  if (is_nested(value)) {
    return each(value, [&](const c10::IValue& inner) { return cpu_value(inner, argument); });
  }
  if (value.isStorage()) {
    return cpu_storage(value.toStorage());
  }
  return value.isDevice() ? c10::IValue(c10::Device(c10::kCPU)) : value;
}

bool Call::may_stay(const at::Tensor& tensor, const c10::Argument& argument) const {
  if (!tensor.is_cpu() || is_written(argument)) {
    return false;
  }
  return tensor.dim() == 0 || are_indices(schema_, argument);
}

at::Tensor Call::cpu_tensor(const at::Tensor& tensor, const c10::Argument& argument) {
  if (!tensor.defined() || may_stay(tensor, argument)) {
    return tensor;
  }
  TORCH_CHECK(
      tensor.device() == *device_,
      "Expected all tensors to be on the same device, but found at least two devices, ", *device_,
      " and ", tensor.device(), "! (when checking argument for argument ", argument.name(),
      " in method ", schema_.name(), ")");
  for (auto& lent : tensors_) {
    if (lent.device.is_same(tensor)) {
      lent.written |= is_written(argument);
      return lent.cpu;
    }
  }
  tensors_.push_back({tensor, over(cpu_storage(tensor.storage()), tensor), is_written(argument)});
  return tensors_.back().cpu;
}

c10::Storage Call::cpu_storage(const c10::Storage& storage) {
  TORCH_CHECK(
      storage.device() == *device_,
      "Expected all tensors to be on the same device, but found at least two devices, ", *device_,
      " and ", storage.device(), "!");
  for (const auto& lent : storages_) {
    if (lent.device.is_alias_of(storage)) {
      return lent.cpu;
    }
  }
  storages_.push_back({storage, storage_on_cpu(storage)});
  return storages_.back().cpu;
}

at::Generator Call::cpu_generator(const c10::IValue& value) const {
  if (value.isNone()) {
    return default_generator();
  }
  const auto generator = value.toGenerator();
  TORCH_CHECK(
      generator.device().is_privateuseone(), "Expected a '", c10::kPrivateUse1,
      "' device type for generator but found '", generator.device().type(), "'");
  return drawn_by(generator);
}

at::Generator Call::default_generator() const {
  return drawn_by(standin::default_generator(device_->index()));
}

void Call::to_device(torch::jit::Stack& stack) {
  for (size_t index = 0; index < storages_.size(); ++index) {
    auto& [device, cpu] = storages_[index];
    if (cpu.data() != readable(device.data()) || cpu.nbytes() != device.nbytes()) {
      c10::Storage grown = storage_on_device(cpu, *device_);
      device.unsafeGetStorageImpl()->set_data_ptr_noswap(
          std::move(grown.unsafeGetStorageImpl()->_mutable_data_ptr_no_checks()));
      device.unsafeGetStorageImpl()->set_nbytes(cpu.nbytes());
    }
  }
  for (size_t index = 0; index < tensors_.size(); ++index) {
    if (tensors_[index].written) {
      follow(tensors_[index]);
    }
  }
  const size_t answers = schema_.returns().size();
  for (size_t index = stack.size() - answers; index < stack.size(); ++index) {
    stack[index] = device_value(stack[index]);
  }
}

// A written tensor takes over the storage (set_) and the shape (resize_, out=) of its CPU twin.
void Call::follow(const Lent& lent) {
  auto* const impl = lent.device.unsafeGetTensorImpl();
  const c10::Storage storage = device_storage(lent.cpu.storage());
  if (!storage.is_alias_of(lent.device.storage())) {
    impl->set_storage_keep_dtype(storage);
  }
  if (lent.device.sizes() != lent.cpu.sizes() || lent.device.strides() != lent.cpu.strides() ||
      lent.device.storage_offset() != lent.cpu.storage_offset()) {
    impl->set_sizes_and_strides(
        lent.cpu.sizes(), lent.cpu.strides(), lent.cpu.storage_offset());
  }
}

c10::IValue Call::device_value(const c10::IValue& value) {
  if (value.isTensor()) {
    return device_tensor(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(device_tensor(tensor));
    }
    return list;
  }
  if (is_nested(value)) {
    return each(value, [this](const c10::IValue& inner) { return device_value(inner); });
  }
  return value;
}

at::Tensor Call::device_tensor(const at::Tensor& tensor) {
  if (!tensor.defined()) {
    return tensor;
  }
  for (const auto& lent : tensors_) {
    if (lent.cpu.is_same(tensor)) {
      return lent.device;
    }
  }
  check_dtype(tensor.scalar_type());
  return over(device_storage(tensor.storage()), tensor);
}

c10::Storage Call::device_storage(const c10::Storage& storage) {
  for (const auto& lent : storages_) {
    if (lent.cpu.is_alias_of(storage)) {
      return lent.device;
    }
  }
  storages_.push_back({storage_on_device(storage, *device_), storage});
  return storages_.back().device;
}

} // namespace standin
