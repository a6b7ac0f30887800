// Building a program and deriving its static facts: lifetimes, views, escapes, in-place updates.
#include "core/program.h"

#include <algorithm>

#include "core/frame.h"

namespace toolkit {

Program::Program() = default;
Program::~Program() = default;

int Program::AddSlot() { return AddConstant(Tensor()); }

int Program::AddConstant(Tensor value) {
  slots_.push_back(std::move(value));
  read_.push_back(false);
  gone_.push_back(false);
  return static_cast<int>(slots_.size()) - 1;
}

bool Program::IsState(int slot) const {
  return std::find(state_slots_.begin(), state_slots_.end(), slot) != state_slots_.end();
}

void Program::RequireSlot(int slot) const {
  TK_REQUIRE(slot >= kNoSlot && slot < static_cast<int>(slots_.size()), ErrorKind::kInvalidModel,
             "program: slot ", slot, " does not exist");
  TK_REQUIRE(slot == kNoSlot || !gone_[slot], ErrorKind::kInvalidModel, "program: slot ", slot,
             " was given back");
}

int Program::AddInput(std::string name) {
  input_names_.push_back(std::move(name));
  input_slots_.push_back(AddSlot());
  return input_slots_.back();
}

int Program::AddState(Tensor value) {
  state_slots_.push_back(AddConstant(std::move(value)));
  return state_slots_.back();
}

void Program::AddNode(const std::string& domain, const std::string& op_type,
                      const std::string& name, const Attributes& attributes,
                      std::vector<int> inputs, std::vector<int> outputs) {
  const KernelDef* def = KernelRegistry::Global().Find(domain, op_type);
  TK_REQUIRE(def, ErrorKind::kUnsupported, op_type, " '", name,
             "': no CPU kernel for this operator of domain '", domain, "'");
  for (int s : inputs) RequireSlot(s);
  for (int s : outputs) RequireSlot(s);
  Instruction instruction;
  instruction.def = def;
  instruction.name = name;
  instruction.inputs = std::move(inputs);
  instruction.outputs = std::move(outputs);
  try {
    instruction.kernel = def->create(attributes);
    Prepack(instruction);
  } catch (const Error& e) {
    Fail(e.kind(), op_type, " '", name, "': ", e.what());
  }
  for (const auto& [key, value] : attributes.all())
    if (const auto* body = std::get_if<std::shared_ptr<Program>>(&value))
      instruction.bodies.push_back(*body);
  instructions_.push_back(std::move(instruction));
}

void Program::Prepack(Instruction& instruction) {
  for (size_t k = 0; k < instruction.inputs.size(); ++k) {
    const int s = instruction.inputs[k];
    if (s == kNoSlot || !slots_[s].defined()) continue;
    if (!IsState(s)) instruction.kernel->Prepack(static_cast<int>(k), slots_[s]);
    if (instruction.kernel->NeedsConstant(static_cast<int>(k))) read_[s] = true;
  }
}

void Program::AddOutput(int slot) {
  RequireSlot(slot);
  read_.at(slot) = true;
  output_slots_.push_back(slot);
}

void Program::AddUpdate(int state_slot, int value_slot) {
  RequireSlot(value_slot);
  read_.at(value_slot) = true;
  updates_.push_back({state_slot, value_slot});
}

void Program::Release(int slot) {
  RequireSlot(slot);
  Tensor& value = slots_.at(slot);
  if (!value.is_tensor() || !value.defined() || read_[slot] || IsState(slot)) return;
  value = Tensor(value.dtype(), value.shape(), nullptr);
  gone_[slot] = true;
}

void Program::Finalize() {
  const size_t n = slots_.size();
  for (size_t s = 0; s < n; ++s)
    if (!gone_[s]) Release(static_cast<int>(s));
  first_.assign(n, -1);
  last_.assign(n, -1);
  fixed_.assign(n, false);
  escapes_.assign(n, false);
  writes_state_.assign(n, kNoSlot);
  repeats_.clear();
  view_of_.resize(n);
  for (size_t s = 0; s < n; ++s) {
    view_of_[s] = static_cast<int>(s);
    fixed_[s] = slots_[s].defined();
  }
  for (int s : input_slots_) fixed_[s] = true;

  const int end = static_cast<int>(instructions_.size());
  for (int i = 0; i < end; ++i) {
    Instruction& instruction = instructions_[i];
    for (size_t k = 0; k < instruction.inputs.size(); ++k) {
      const int s = instruction.inputs[k];
      if (s == kNoSlot) continue;
      TK_REQUIRE(fixed_[s] || first_[s] >= 0, ErrorKind::kInvalidModel, instruction.def->op_type,
                 " '", instruction.name, "': input ", k, " is used before it is computed");
      last_[s] = i;
    }
    for (int s : instruction.outputs) {
      if (s == kNoSlot) continue;
      TK_REQUIRE(!fixed_[s] && first_[s] < 0, ErrorKind::kInvalidModel, instruction.def->op_type,
                 " '", instruction.name, "': an output is computed twice");
      first_[s] = last_[s] = i;
    }
    if (instruction.def->view && instruction.outputs[0] != kNoSlot)
      view_of_[instruction.outputs[0]] = view_of_[instruction.inputs[0]];
  }
  for (int s : output_slots_) {
    TK_REQUIRE(fixed_[s] || first_[s] >= 0, ErrorKind::kInvalidModel,
               "program: an output is never computed");
    repeats_.push_back(escapes_[view_of_[s]]);
    escapes_[view_of_[s]] = true;
  }
  // Memory lives as long as the last of its views.
  for (const Update& u : updates_) last_[u.value] = end;
  for (size_t s = 0; s < n; ++s) {
    int& root_last = last_[view_of_[s]];
    root_last = std::max(root_last, last_[s]);
  }
  DeriveDeaths();
  // An update whose kernel may write over the state, and is the state's last reader, does.
  for (const Update& u : updates_) {
    if (fixed_[u.value] || view_of_[u.value] != u.value || escapes_[u.value]) continue;
    const Instruction& producer = instructions_[first_[u.value]];
    for (auto [in, out] : producer.def->inplace) {
      if (out < static_cast<int>(producer.outputs.size()) && producer.outputs[out] == u.value &&
          in < static_cast<int>(producer.inputs.size()) && producer.inputs[in] == u.state &&
          last_[u.state] == first_[u.value] &&
          std::count(producer.inputs.begin(), producer.inputs.end(), u.state) == 1)
        writes_state_[u.value] = u.state;
    }
  }
}

std::shared_ptr<Program> Program::Select(const std::vector<int>& outputs) const {
  TK_REQUIRE(state_slots_.empty(), ErrorKind::kInvalidArgument,
             "program: one without states is required to select outputs of it");
  auto part = std::make_shared<Program>();
  part->slots_ = slots_, part->read_ = read_, part->gone_ = gone_;
  part->input_names_ = input_names_, part->input_slots_ = input_slots_;
  std::vector<bool> needed(slots_.size(), false);
  for (int k : outputs) {
    TK_REQUIRE(k >= 0 && k < num_outputs(), ErrorKind::kInvalidArgument,
               "program: an output below ", num_outputs(), " is required, got ", k);
    part->AddOutput(output_slots_[k]);
    needed[output_slots_[k]] = true;
  }
  for (size_t i = instructions_.size(); i-- > 0;) {
    const Instruction& instruction = instructions_[i];
    const auto is_needed = [&](int s) { return s != kNoSlot && needed[s]; };
    const std::vector<int>& made = instruction.outputs;
    if (std::none_of(made.begin(), made.end(), is_needed)) continue;
    for (int s : instruction.inputs)
      if (s != kNoSlot) needed[s] = true;
    part->instructions_.push_back(instruction);
  }
  std::reverse(part->instructions_.begin(), part->instructions_.end());
  part->Finalize();
  return part;
}

void Program::DeriveDeaths() {
  dies_.assign(instructions_.size(), {});
  given_dies_.assign(instructions_.size(), {});
  for (size_t s = 0; s < slots_.size(); ++s) {
    const int memory = view_of_[s];
    if (first_[s] < 0 || fixed_[memory] || escapes_[memory]) continue;
    const int end = last_[memory];
    if (end >= static_cast<int>(instructions_.size())) continue;  // Read by an update.
    dies_[end].push_back(static_cast<int>(s));
    if (instructions_[first_[memory]].def->gives) given_dies_[end].push_back(static_cast<int>(s));
  }
}

}  // namespace toolkit
