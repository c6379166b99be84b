// Every operator by its CPU kernel.
#pragma once

#include <torch/library.h>

namespace standin {

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack);

// Calls per operator since the counters were last reset.
c10::Dict<std::string, int64_t> calls();
void reset_calls();

} // namespace standin
