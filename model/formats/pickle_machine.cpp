#include "model/formats/pickle_machine.h"

#include "base/error.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

namespace kvg {

namespace {

using Kind = PickleKind;
using Value = PickleValue;

// What a small pickle could blow up by mentioning one value again and again.
constexpr size_t kMaxRank = 4;  // of Tensor
constexpr size_t kLongestKey = 20;

constexpr std::string_view kOrderedDict = "collections OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";

constexpr std::array<std::pair<std::string_view, DType>, 4> kStorages = {
    {{"torch BFloat16Storage", DType::bf16},
     {"torch HalfStorage", DType::f16},
     {"torch FloatStorage", DType::f32},
     {"torch DoubleStorage", DType::f64}}};

constexpr std::array<std::string_view, 3> kFunctions = {kOrderedDict, kRebuildTensor,
                                                        kRebuildParameter};

const std::pair<std::string_view, DType>* find_storage(std::string_view name) {
  return std::find_if(kStorages.begin(), kStorages.end(),
                      [&](const auto& row) { return row.first == name; });
}

// The machine that a pickle is a program for: a stack, marks on it, and a memo.
class Machine {
 public:
  Machine(std::string_view pickle, const std::string& where) : pickle_(pickle), where_(where) {}

  PickleValues run() {
    if (pickle_.size() > kMaxTorchPickle) {
      refuse(fmt::format("{} bytes", pickle_.size()),
             fmt::format("at most {} bytes", kMaxTorchPickle));
    }
    while (true) {
      opcode_at_ = at_;
      const auto opcode = static_cast<unsigned char>(take(1)[0]);
      if (opcode == '.') {
        const Value* root = pop();
        return {std::move(values_), root};
      }
      step(opcode);
    }
  }

 private:
  [[noreturn]] void refuse(const std::string& found, const std::string& expected) const {
    throw Error(where_, fmt::format("byte {}", opcode_at_), found, expected);
  }

  void step(unsigned char opcode) {
    if (!push_constant(opcode) && !build_container(opcode) && !use_memo(opcode)) {
      switch (opcode) {
        case 0x80:  // PROTO
          if (const uint64_t protocol = number(1); protocol != 2) {
            refuse(fmt::format("protocol {}", protocol), "protocol 2, as torch.save writes it");
          }
          break;
        case '(':
          marks_.push_back(stack_.size());
          break;
        case 'c':
          push_name();
          break;
        case 'Q':
          push_storage();
          break;
        case 'R':
          call();
          break;
        case 'b':  // attributes of a dictionary (_metadata of a state_dict), which are not needed
          expect(*pop(), Kind::dict, "attributes");
          expect(*top(), Kind::dict, "what has attributes");
          break;
        default:
          refuse(fmt::format("opcode 0x{:02x}", opcode), "what torch.save writes for tensors");
      }
    }
  }

  bool push_constant(unsigned char opcode) {
    switch (opcode) {
      case 'N':
        push({Kind::none});
        return true;
      case 0x88:
      case 0x89:
        push({Kind::boolean, opcode == 0x88 ? 1 : 0});
        return true;
      case 'K':
        push({Kind::integer, static_cast<int64_t>(number(1))});
        return true;
      case 'M':
        push({Kind::integer, static_cast<int64_t>(number(2))});
        return true;
      case 'J':
        push({Kind::integer, static_cast<int32_t>(number(4))});
        return true;
      case 0x8a:
        push({Kind::integer, long_integer()});
        return true;
      case 'X':
        push({Kind::text, 0, take(number(4))});
        return true;
      default:
        return false;
    }
  }

  bool build_container(unsigned char opcode) {
    switch (opcode) {
      case '}':
        push({Kind::dict});
        return true;
      case ']':
        push({Kind::list});
        return true;
      case ')':
        push({Kind::tuple});
        return true;
      case 0x85:
      case 0x86:
      case 0x87:
        push_tuple(pop_many(opcode - 0x84));
        return true;
      case 't':
        push_tuple(pop_to_mark());
        return true;
      case 'a':
        append(pop_many(1), Kind::list);
        return true;
      case 'e':
        append(pop_to_mark(), Kind::list);
        return true;
      case 's':
        append(pop_many(2), Kind::dict);
        return true;
      case 'u':
        append(pop_to_mark(), Kind::dict);
        return true;
      default:
        return false;
    }
  }

  bool use_memo(unsigned char opcode) {
    switch (opcode) {
      case 'q':
        memo_[number(1)] = top();
        return true;
      case 'r':
        memo_[number(4)] = top();
        return true;
      case 'h':
        recall(number(1));
        return true;
      case 'j':
        recall(number(4));
        return true;
      default:
        return false;
    }
  }

  std::string_view take(uint64_t n) {
    if (n > pickle_.size() - at_) refuse("the end of the data", fmt::format("{} more bytes", n));
    at_ += n;
    return pickle_.substr(at_ - n, n);
  }

  uint64_t number(uint64_t bytes) {
    uint64_t value = 0;
    uint64_t shift = 0;
    for (const char byte : take(bytes)) {
      value |= uint64_t{static_cast<unsigned char>(byte)} << shift;
      shift += 8;
    }
    return value;
  }

  // Two's complement of any length; torch has no use for more than 64 bits.
  int64_t long_integer() {
    const uint64_t bytes = number(1);
    if (bytes == 0) return 0;
    if (bytes > 8) refuse(fmt::format("an integer of {} bytes", bytes), "at most 8");
    const uint64_t unused = 64 - 8 * bytes;
    return static_cast<int64_t>(number(bytes) << unused) >> unused;
  }

  void push(Value value) {
    values_.push_back(std::move(value));
    stack_.push_back(&values_.back());
  }
  void push_tuple(std::vector<Value*> items) {
    Value tuple{Kind::tuple};
    tuple.items = std::move(items);
    push(std::move(tuple));
  }
  void recall(uint64_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) refuse(fmt::format("memo {}", key), "one that was set before");
    stack_.push_back(found->second);
  }

  // Values above the last mark.
  size_t available() const { return stack_.size() - (marks_.empty() ? 0 : marks_.back()); }
  Value* top() const {
    if (available() == 0) refuse("an empty stack", "a value");
    return stack_.back();
  }
  std::vector<Value*> pop_many(size_t n) {
    if (available() < n) {
      refuse(fmt::format("{} values", available()), fmt::format("{} on the stack", n));
    }
    std::vector<Value*> items(stack_.end() - static_cast<ptrdiff_t>(n), stack_.end());
    stack_.resize(stack_.size() - n);
    return items;
  }
  Value* pop() { return pop_many(1)[0]; }
  std::vector<Value*> pop_to_mark() {
    if (marks_.empty()) refuse("no mark", "one on the stack");
    std::vector<Value*> items = pop_many(available());
    marks_.pop_back();
    return items;
  }

  const Value& expect(const Value& value, Kind kind, const char* what) const {
    if (value.kind != kind) {
      refuse(fmt::format("{} for {}", pickle_kind_name(value.kind), what),
             std::string(pickle_kind_name(kind)));
    }
    return value;
  }

  void append(const std::vector<Value*>& items, Kind kind) {
    Value* container = top();
    expect(*container, kind, "what is filled");
    if (kind == Kind::dict) {
      if (items.size() % 2 != 0) refuse("a key without a value", "pairs");
      for (size_t i = 0; i < items.size(); i += 2) expect(*items[i], Kind::text, "a key");
    }
    container->items.insert(container->items.end(), items.begin(), items.end());
  }

  void push_name() {
    const size_t first = pickle_.find('\n', at_);
    const size_t second = first == std::string_view::npos ? first : pickle_.find('\n', first + 1);
    if (second == std::string_view::npos) refuse("the end of the data", "a module and a name");
    std::string name = fmt::format("{} {}", pickle_.substr(at_, first - at_),
                                   pickle_.substr(first + 1, second - first - 1));
    at_ = second + 1;
    const auto is_name = [&](std::string_view known) { return known == name; };
    if (const auto* known = std::find_if(kFunctions.begin(), kFunctions.end(), is_name);
        known != kFunctions.end()) {
      return push({Kind::name, 0, *known});
    }
    if (const auto* storage = find_storage(name); storage != kStorages.end()) {
      return push({Kind::name, 0, storage->first});
    }
    std::replace(name.begin(), name.end(), ' ', '.');
    refuse(name, "bf16, f16, f32 or f64 tensors in dictionaries, and nothing else");
  }

  // ('storage', type, key, device, elements)
  void push_storage() {
    const Value& id = expect(*pop(), Kind::tuple, "a storage");
    if (id.items.size() != 5) refuse(fmt::format("{} items", id.items.size()), "a storage's five");
    const Value& type = expect(*id.items[1], Kind::name, "a storage's type");
    const auto* known = find_storage(type.text);
    if (known == kStorages.end()) refuse(std::string(type.text), "a storage type");
    Value storage{Kind::storage};
    storage.tensor.dtype = known->second;
    const std::string_view key = expect(*id.items[2], Kind::text, "a storage's key").text;
    if (key.size() > kLongestKey) refuse(std::string(key), "a storage's key, a number");
    storage.tensor.storage = key;
    storage.tensor.storage_elements = count(*id.items[4], "a storage's elements");
    push(std::move(storage));
  }

  uint64_t count(const Value& value, const char* what) const {
    const int64_t n = expect(value, Kind::integer, what).integer;
    if (n < 0) refuse(fmt::format("{} for {}", n, what), "0 or more");
    return static_cast<uint64_t>(n);
  }

  std::vector<int64_t> counts(const Value& tuple, const char* what) const {
    std::vector<int64_t> numbers;
    const std::vector<Value*>& items = expect(tuple, Kind::tuple, what).items;
    if (items.size() > kMaxRank) {
      refuse(fmt::format("{} for {}", items.size(), what), "at most four dimensions");
    }
    for (const Value* item : items) {
      numbers.push_back(static_cast<int64_t>(count(*item, what)));
    }
    return numbers;
  }

  void call() {
    const Value& arguments = expect(*pop(), Kind::tuple, "arguments");
    const std::string_view function = expect(*pop(), Kind::name, "a function").text;
    const std::vector<Value*>& items = arguments.items;
    if (function == kOrderedDict && items.empty()) {
      push({Kind::dict});
    } else if (function == kRebuildTensor && (items.size() == 6 || items.size() == 7)) {
      // storage, offset, shape, strides, requires_grad, hooks and, from some versions, metadata
      Value tensor{Kind::tensor};
      tensor.tensor = expect(*items[0], Kind::storage, "a tensor's storage").tensor;
      tensor.tensor.offset = count(*items[1], "a tensor's offset");
      tensor.tensor.shape = counts(*items[2], "a tensor's shape");
      tensor.tensor.strides = counts(*items[3], "a tensor's strides");
      push(std::move(tensor));
    } else if (function == kRebuildParameter && items.size() == 3) {
      stack_.push_back(items[0]);
    } else {
      refuse(fmt::format("{} with {} arguments", function, items.size()), "a call of torch.save's");
    }
  }

  std::string_view pickle_;
  const std::string& where_;
  uint64_t at_ = 0;
  uint64_t opcode_at_ = 0;    // of the opcode being read, for errors
  std::deque<Value> values_;  // owns them all: a pickle may tie values into a ring
  std::vector<Value*> stack_;
  std::vector<size_t> marks_;  // heights of the stack
  std::unordered_map<uint64_t, Value*> memo_;
};

}  // namespace

std::string_view pickle_kind_name(PickleKind kind) {
  constexpr std::array<std::string_view, 10> kNames = {
      "None",   "a boolean",    "an integer", "a string",  "a tuple",
      "a list", "a dictionary", "a name",     "a storage", "a tensor"};
  return kNames[static_cast<size_t>(kind)];
}

PickleValues read_pickle(std::string_view pickle, const std::string& where) {
  return Machine(pickle, where).run();
}

}  // namespace kvg
