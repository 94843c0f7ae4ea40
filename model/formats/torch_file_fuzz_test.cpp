#include "base/random.h"
#include "model/formats/test_files.h"
#include "model/formats/torch_file.h"
#include "model/formats/torch_test_files.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

// Thousands of damaged files: each is read or refused with an Error, and what is read stays within
// the file. Most useful under the sanitizers.
namespace kvg {
namespace {

constexpr int kMutants = 4000;

std::string valid_pickle() {
  pickled::View row;
  row.offset = 3;
  row.shape = {3};
  row.strides = {1};
  const std::string layer = pickled::ordered_dict() + "(" + pickled::text("coda.theta") +
                            pickled::tensor({}) + pickled::text("coda.bias") + "q\x07" +
                            pickled::tensor(row) + "u" +
                            pickled::dict({{"_metadata", pickled::dict({{"v", "K\x01"}})}}) + "b";
  return pickled::whole(pickled::dict({{"layer_0", layer}, {"layer_1", "}"}}));
}

// Applies one to four random edits: bit flips, bytes replaced by ones that mean something, numbers
// replaced by extreme ones, parts removed, repeated or cut off.
std::string mutate(std::string bytes, Random* random) {
  static constexpr std::string_view kMeaningful =
      "(tuRQqhbc}])\x85\x86.sXKMJN\x80PK\1\2\5\6\xff\x00";
  const uint64_t edits = 1 + random->below(4);
  for (uint64_t edit = 0; edit < edits && !bytes.empty(); ++edit) {
    const size_t at = random->below(bytes.size());
    const size_t span = random->below(std::min<size_t>(bytes.size() - at, 24) + 1);
    const char meaningful = kMeaningful[random->below(kMeaningful.size())];
    switch (random->below(7)) {
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
        bytes.replace(at, span, span, random->below(2) == 0 ? '\xff' : '\x7f');
        break;
      case 5:
        bytes.resize(at);
        break;
      default:
        bytes.insert(at, 1 + random->below(12), meaningful);
        break;
    }
  }
  return bytes;
}

// Numbers in the records of a ZIP archive, where a random edit of a whole file seldom falls.
std::string mutate_records(std::string bytes, Random* random) {
  std::vector<size_t> records;
  for (size_t at = bytes.find("PK"); at != std::string::npos; at = bytes.find("PK", at + 1)) {
    records.push_back(at);
  }
  const size_t at = records[random->below(records.size())] + random->below(56);
  if (at >= bytes.size()) return bytes;
  const size_t size = std::min<size_t>(size_t{1} << random->below(4), bytes.size() - at);
  for (size_t i = 0; i < size; ++i) {
    bytes[at + i] = static_cast<char>(random->below(3) == 0 ? random->below(256) : 255);
  }
  return bytes;
}

// Reads every byte of every tensor.
uint64_t read_all(const std::string& bytes) {
  uint64_t sum = 0;
  for (const auto& [group, tensors] : parse_torch_file(bytes, "mutant")) {
    for (const auto& [name, entry] : tensors) {
      uint64_t size = dtype_size(entry.dtype);
      for (const int64_t extent : entry.shape) size *= static_cast<uint64_t>(extent);
      EXPECT_EQ(size, entry.end - entry.begin) << name;
      for (uint64_t i = entry.begin; i < entry.end; ++i) {
        sum += static_cast<unsigned char>(bytes.at(i));
      }
    }
  }
  return sum;
}

struct Tally {
  int read = 0;
  int refused = 0;
};

template <typename Make>
Tally run(uint64_t seed, const Make& make) {
  Random random(seed);
  Tally tally;
  for (int i = 0; i < kMutants; ++i) {
    const std::string bytes = make(&random);
    try {
      read_all(bytes);
      ++tally.read;
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).rfind("mutant", 0), 0u) << error.what();
      ++tally.refused;
    }
  }
  EXPECT_GT(tally.read, 0);
  return tally;
}

TEST(TorchFileFuzz, TheOriginalIsValid) {
  EXPECT_EQ(read_all(torch_bytes(valid_pickle())), 36u * 0x3f);
}

TEST(TorchFileFuzz, DamagedFilesAreReadOrRefused) {
  for (const bool zip64 : {false, true}) {
    const std::string valid = torch_bytes(valid_pickle(), zip64);
    const Tally tally = run(1, [&](Random* random) { return mutate(valid, random); });
    EXPECT_GT(tally.refused, kMutants / 2);
  }
}

TEST(TorchFileFuzz, DamagedRecordsAreReadOrRefused) {
  for (const bool zip64 : {false, true}) {
    const std::string valid = torch_bytes(valid_pickle(), zip64);
    const Tally tally = run(2, [&](Random* random) { return mutate_records(valid, random); });
    EXPECT_GT(tally.refused, kMutants / 4);
  }
}

TEST(TorchFileFuzz, DamagedPicklesAreReadOrRefused) {
  const std::string valid = valid_pickle();
  const Tally tally = run(3, [&](Random* random) { return torch_bytes(mutate(valid, random)); });
  EXPECT_GT(tally.refused, kMutants / 2);
}

TEST(TorchFileFuzz, WhatTorchSavedAndWasDamagedIsReadOrRefused) {
  const std::string valid = read_file(golden_folder() / "mistral-coda/phase2/coda_adapters.pt");
  run(4, [&](Random* random) { return mutate_records(valid, random); });
}

}  // namespace
}  // namespace kvg
