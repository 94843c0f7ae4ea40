#include "base/random.h"
#include "model/formats/safetensors.h"
#include "model/formats/test_files.h"

#include <array>
#include <string>
#include <vector>

#include <gtest/gtest.h>

// Thousands of damaged files: each is read or refused with an Error, and what is read stays within
// the file. Most useful under the sanitizers.
namespace kvg {
namespace {

constexpr int kMutants = 6000;

std::string valid_file() {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},)"
      R"("model.embed.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
      R"("norm":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},)"
      R"("empty":{"dtype":"F16","shape":[0,7],"data_offsets":[32,32]},)"
      R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}    )";
  return safetensors_bytes(header, std::string(40, '\x3f'));
}

// Applies one to four random edits: bit flips, bytes replaced by ones that mean something in JSON,
// parts removed, repeated or inserted, the end cut off, the length prefix changed.
std::string mutate(std::string bytes, Random* random) {
  static constexpr std::string_view kMeaningful = "{}[]\",:0123456789-+.eE\\ \xff\xc3\x80";
  const uint64_t edits = 1 + random->below(4);
  for (uint64_t edit = 0; edit < edits && !bytes.empty(); ++edit) {
    const size_t at = random->below(bytes.size());
    const size_t span = random->below(std::min<size_t>(bytes.size() - at, 24) + 1);
    const char meaningful = kMeaningful[random->below(kMeaningful.size())];
    switch (random->below(8)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random->below(8));
        break;
      case 1:
        bytes[at] = meaningful;
        break;
      case 2:
        bytes.erase(at, span);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, span));
        break;
      case 4:
        bytes.insert(at, 1 + random->below(40), meaningful);
        break;
      case 5:
        bytes.resize(at);
        break;
      case 6:
        bytes[random->below(std::min<size_t>(bytes.size(), 8))] =
            static_cast<char>(random->below(256));
        break;
      default:
        bytes += bytes.substr(at, span);
        break;
    }
  }
  return bytes;
}

// The same edits, but the length prefix is made true again, so that they reach what comes behind
// it.
std::string mutate_header(const std::string& file, Random* random) {
  const std::string header = file.substr(8, file.size() - 48);
  return safetensors_bytes(mutate(header, random), file.substr(file.size() - 40));
}

// Reads every byte of every tensor.
uint64_t read_all(const std::string& bytes) {
  const SafetensorsHeader header = parse_safetensors_header(bytes, "mutant");
  uint64_t sum = 0;
  for (const auto& [name, entry] : header.tensors) {
    uint64_t size = dtype_size(entry.dtype);
    for (const int64_t extent : entry.shape) size *= static_cast<uint64_t>(extent);
    EXPECT_EQ(size, entry.end - entry.begin) << name;
    for (uint64_t i = entry.begin; i < entry.end; ++i) {
      sum += static_cast<unsigned char>(bytes.at(header.data_begin + i));
    }
  }
  return sum;
}

struct Tally {
  int read = 0;
  int refused = 0;
};

template <typename Mutate>
Tally run(uint64_t seed, const Mutate& damage) {
  Random random(seed);
  const std::string valid = valid_file();
  Tally tally;
  for (int i = 0; i < kMutants; ++i) {
    const std::string bytes = damage(valid, &random);
    try {
      read_all(bytes);
      ++tally.read;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).rfind("mutant", 0), 0u) << error.what();
      ++tally.refused;
    }
  }
  return tally;
}

TEST(SafetensorsFuzz, TheOriginalIsValid) { EXPECT_EQ(read_all(valid_file()), 40u * 0x3f); }

TEST(SafetensorsFuzz, DamagedFilesAreReadOrRefused) {
  const Tally tally = run(1, mutate);
  EXPECT_GT(tally.refused, kMutants / 2);
  EXPECT_GT(tally.read, 0);  // bits flipped in the data or in a name do no harm
}

TEST(SafetensorsFuzz, DamagedHeadersAreReadOrRefused) {
  const Tally tally = run(2, mutate_header);
  EXPECT_GT(tally.refused, kMutants / 2);
  EXPECT_GT(tally.read, 0);
}

TEST(SafetensorsFuzz, DeepNestingIsRefused) {
  const std::string deep(1 << 20, '[');
  EXPECT_THROW(read_all(safetensors_bytes(deep, "")), Error);
  EXPECT_THROW(read_all(safetensors_bytes(R"({"a":)" + deep, "")), Error);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  EXPECT_THROW(read_all(safetensors_bytes(objects, "")), Error);
}

}  // namespace
}  // namespace kvg
