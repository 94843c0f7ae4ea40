#include "model/tokenizer.h"

#include "base/random.h"
#include "base/sha256.h"
#include "model/formats/test_files.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace kvg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

const Json& golden() {
  static const Json json = Json::parse(read_file(golden_folder() / "tokens.json"));
  return json;
}

std::string digest(const std::vector<int32_t>& ids) {
  return sha256({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(int32_t)});
}

void expect_rows(const Tokenizer& tokenizer, const Json& rows) {
  for (const Json& row : rows) {
    const auto ids = row["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(row["text"].get<std::string>()), ids) << row["text"];
    if (row.contains("decoded")) {
      EXPECT_EQ(tokenizer.decode(ids), row["decoded"].get<std::string>());
    }
  }
}

// ---- SentencePiece

class SentencePieceModels : public ::testing::TestWithParam<const char*> {};

TEST_P(SentencePieceModels, AgreesWithTheSentencePiecePackage) {
  const std::filesystem::path path = data_root() / GetParam();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs KVG_DATA";
  const auto tokenizer = Tokenizer::open(path);
  const Json& expected = golden().at(GetParam());
  EXPECT_EQ(tokenizer->vocab(), expected["vocab"].get<int64_t>());
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_EQ(tokenizer->hash(), sha256_file(path));
  expect_rows(*tokenizer, expected["rows"]);
  const Json& part = expected["long"];
  const std::string text = read_file(data_root() / part["text"].get<std::string>());
  const std::vector<int32_t> ids = tokenizer->encode(text.substr(0, part["bytes"].get<size_t>()));
  EXPECT_EQ(ids.size(), part["count"].get<size_t>());
  EXPECT_EQ(digest(ids), part["sha256"].get<std::string>());
}

INSTANTIATE_TEST_SUITE_P(All, SentencePieceModels,
                         ::testing::Values("tokenizers/mistral-7b-v0.3.model",
                                           "tokenizers/mistral-7b-v0.1.model",
                                           "tokenizers/llama2.model"));

// The model that ships with the project, so that something is tested without KVG_DATA.
TEST(SentencePiece, TextSurvivesARoundTrip) {
  const auto tokenizer =
      Tokenizer::open(std::filesystem::path(KVG_SOURCE_DIR) / "model/zoo/kvg-tiny/tokenizer.model");
  EXPECT_GT(tokenizer->vocab(), 300);
  for (const std::string text :
       {"", " ", "a", " two  spaces ", "line\nline\n\n\tindented\r\n",
        "naïve 日本語 🙂 \u00a0", "<s></s><unk><0x0A>", "0123456789 3.14159"}) {
    const std::vector<int32_t> ids = tokenizer->encode(text);
    EXPECT_EQ(tokenizer->decode(ids), text);
    for (const int32_t id : ids) EXPECT_FALSE(tokenizer->piece(id).empty());
  }
}

TEST(SentencePiece, TakesInvalidUtf8AndRefusesUnknownTokens) {
  const auto tokenizer =
      Tokenizer::open(std::filesystem::path(KVG_SOURCE_DIR) / "model/zoo/kvg-tiny/tokenizer.model");
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xff\xc3z")), "a\uFFFD\uFFFDz");
  const std::string nul("a\0b", 3);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(nul)), nul);
  const auto limit = static_cast<int32_t>(tokenizer->vocab());
  EXPECT_THAT(error_of([&] { tokenizer->piece(limit); }), HasSubstr("tokenizer.model: token"));
  EXPECT_THAT(error_of([&] { tokenizer->decode(std::vector<int32_t>{-1}); }),
              HasSubstr("found -1"));
}

TEST(SentencePiece, RefusesWhatIsNoModel) {
  const TempFolder folder;
  const auto open = [&](const std::string& bytes) {
    write_file(folder / "tokenizer.model", bytes);
    return error_of([&] { Tokenizer::open(folder / "tokenizer.model"); });
  };
  EXPECT_THAT(open(""), HasSubstr("tokenizer.model: found 0 bytes"));
  EXPECT_THAT(open("hello, world"), HasSubstr("expected a SentencePiece model"));
  EXPECT_THAT(open(std::string(1000, '\xff')), HasSubstr("expected a SentencePiece model"));
  EXPECT_THAT(error_of([&] { Tokenizer::open(folder / "absent.model"); }),
              HasSubstr("absent.model"));
  EXPECT_THAT(error_of([] { Tokenizer::open("tokenizer.json"); }), HasSubstr("unknown kind"));
}

// ---- llama2.c

void append(std::string* bytes, const auto& value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
}

std::string tokenizer_bin(const std::vector<std::pair<std::string, float>>& pieces) {
  std::string bytes;
  append(&bytes, uint32_t{8});
  const auto add = [&](const std::string& piece, float score) {
    append(&bytes, score);
    append(&bytes, static_cast<int32_t>(piece.size()));
    bytes += piece;
  };
  for (const char* special : {"<unk>", "\n<s>\n", "\n</s>\n"}) add(special, 0);
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", static_cast<unsigned>(byte));
    add(name, 0);
  }
  for (const auto& [piece, score] : pieces) add(piece, score);
  return bytes;
}

std::unique_ptr<Tokenizer> open_bin(const TempFolder& folder, const std::string& bytes) {
  write_file(folder / "tokenizer.bin", bytes);
  return Tokenizer::open(folder / "tokenizer.bin");
}

TEST(Llama2cTokenizer, MergesTheBestScoreFirstAndTiesFromTheLeft) {
  const TempFolder folder;
  // 259: space, 260: a, 261: b, 262: c, 263: ab, 264: bc, 265: aa, 266: é
  const auto tokenizer = open_bin(folder, tokenizer_bin({{" ", -9},
                                                         {"a", -9},
                                                         {"b", -9},
                                                         {"c", -9},
                                                         {"ab", -2},
                                                         {"bc", -1},
                                                         {"aa", -3},
                                                         {"é", -9}}));
  EXPECT_THAT(tokenizer->encode("abc"), ElementsAre(259, 260, 264));  // bc before ab
  EXPECT_THAT(tokenizer->encode("aaa"), ElementsAre(259, 265, 260));  // the left pair
  EXPECT_THAT(tokenizer->encode("é"), ElementsAre(259, 266));
  EXPECT_THAT(tokenizer->encode("ê"), ElementsAre(259, 3 + 0xc3, 3 + 0xaa));  // bytes
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{1, 259, 263, 2}), "ab");
  EXPECT_EQ(tokenizer->vocab(), 259 + 8);
}

TEST(Llama2cTokenizer, AnyBytesSurviveARoundTrip) {
  const TempFolder folder;
  const auto tokenizer = open_bin(folder, tokenizer_bin({{" ", -9}, {"a", -1}, {" a", -2}}));
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    std::string text;
    for (uint64_t n = random.below(20); n > 0; --n) {
      text.push_back(
          static_cast<char>(random.below(2) == 0 ? random.below(256) : " a"[random.below(2)]));
    }
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

TEST(Llama2cTokenizer, RefusesDamage) {
  const TempFolder folder;
  const std::string whole = tokenizer_bin({{"a", -1}});
  EXPECT_EQ(open_bin(folder, whole)->vocab(), 260);
  for (size_t size = 0; size < whole.size(); ++size) {
    const bool near_an_end = size < 60 || size + 40 > whole.size();
    if (!near_an_end && size % 19 != 0) continue;
    const std::string cut = whole.substr(0, size);
    const bool at_end_of_pieces = size + 9 == whole.size();  // 259 whole pieces
    if (at_end_of_pieces) {
      EXPECT_EQ(open_bin(folder, cut)->vocab(), 259);
    } else {
      EXPECT_THAT(error_of([&] { open_bin(folder, cut); }), HasSubstr("tokenizer.bin: piece"));
    }
  }
  std::string wrong = whole;
  wrong.replace(whole.find("<0x41>"), 6, "<0x42>");
  EXPECT_THAT(error_of([&] { open_bin(folder, wrong); }), HasSubstr("for a byte"));
  std::string negative = whole;
  negative.replace(8, 4, std::string(4, '\xff'));
  EXPECT_THAT(error_of([&] { open_bin(folder, negative); }), HasSubstr("length -1"));
}

TEST(Llama2cTokenizer, AgreesWithLlama2c) {
  const std::string name = "models/stories260K/tokenizer.bin";
  if (!std::filesystem::exists(data_root() / name)) GTEST_SKIP() << "needs KVG_DATA";
  const auto tokenizer = Tokenizer::open(data_root() / name);
  EXPECT_EQ(tokenizer->vocab(), 512);
  expect_rows(*tokenizer, golden().at(name)["rows"]);
  for (const Json& row : golden().at(name)["rows"]) {
    const auto text = row["text"].get<std::string>();
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
}

}  // namespace
}  // namespace kvg
