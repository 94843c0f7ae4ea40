#include "model/formats/safetensors.h"

#include "model/formats/test_files.h"

#include <array>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string load_error(const std::string& bytes) {
  const TempFolder folder;
  write_file(folder / "x.safetensors", bytes);
  const std::string message = error_of([&] { SafetensorsFile file(folder / "x.safetensors"); });
  EXPECT_THAT(message, HasSubstr((folder / "x.safetensors").string()));
  EXPECT_EQ(message.find('\n'), std::string::npos);
  return message;
}

std::string header_error(const std::string& header, size_t data_bytes) {
  return load_error(safetensors_bytes(header, std::string(data_bytes, '\0')));
}

TEST(Safetensors, WritesWhatItReads) {
  const TempFolder folder;
  std::array<float, 6> matrix = {1, -2, 3.5f, 0, 1e-30f, 7};
  std::array<uint16_t, 3> bf16 = {0x3f80, 0x4000, 0xc040};
  std::array<double, 1> scalar = {0.1};
  std::array<int32_t, 2> ids = {-1, 5};
  write_safetensors(folder / "a.safetensors",
                    {{"matrix", Tensor(matrix.data(), DType::f32, Device::cpu, {2, 3})},
                     {"bf16", Tensor(bf16.data(), DType::bf16, Device::cpu, {3})},
                     {"scalar", Tensor(scalar.data(), DType::f64, Device::cpu, {})},
                     {"empty", Tensor(nullptr, DType::f16, Device::cpu, {0, 4})},
                     {"ids", Tensor(ids.data(), DType::i32, Device::cpu, {2})}},
                    {{"format", "pt"}});
  const SafetensorsFile file(folder / "a.safetensors");
  EXPECT_THAT(file.names(), ElementsAre("bf16", "empty", "ids", "matrix", "scalar"));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  const Tensor read = file.tensor("matrix");
  EXPECT_EQ(read.rank, 2);
  EXPECT_EQ(read.size(0), 2);
  EXPECT_EQ(read.size(1), 3);
  EXPECT_EQ(std::memcmp(read.as<float>(), matrix.data(), sizeof(matrix)), 0);
  EXPECT_EQ(file.tensor("bf16").dtype, DType::bf16);
  EXPECT_EQ(std::memcmp(file.tensor("bf16").data, bf16.data(), sizeof(bf16)), 0);
  EXPECT_EQ(file.tensor("scalar").rank, 0);
  EXPECT_EQ(std::memcmp(file.tensor("scalar").data, scalar.data(), sizeof(scalar)), 0);
  EXPECT_EQ(file.tensor("empty").elements(), 0);
  EXPECT_EQ(file.tensor("ids").as<int32_t>()[0], -1);
  file.release("matrix");  // reads again from the file
  EXPECT_EQ(file.tensor("matrix").as<float>()[2], 3.5f);
}

TEST(Safetensors, ReadsWhatHuggingFaceWrote) {
  const SafetensorsSet set(golden_folder() / "llama-bias-two-files");
  EXPECT_EQ(set.files().size(), 2u);
  const Tensor q = set.tensor("model.layers.1.self_attn.q_proj.weight");
  EXPECT_EQ(q.dtype, DType::f16);
  EXPECT_EQ(q.size(0), 32);
  EXPECT_EQ(set.file_of("lm_head.weight").filename(), "model-00002-of-00002.safetensors");
}

TEST(Safetensors, ReadsMisalignedData) {
  const TempFolder folder;
  const std::array<float, 2> values = {1.5f, -2.25f};
  std::string data(sizeof(values), '\0');
  std::memcpy(data.data(), values.data(), sizeof(values));
  std::string header = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  while (header.size() % 4 != 1) header += ' ';
  write_file(folder / "x.safetensors", safetensors_bytes(header, data));
  const SafetensorsFile file(folder / "x.safetensors");
  EXPECT_EQ(file.tensor("a").as<float>()[1], -2.25f);
  file.release("a");
  EXPECT_EQ(file.tensor("a").as<float>()[0], 1.5f);
}

TEST(Safetensors, NamesTheMissingTensor) {
  const TempFolder folder;
  write_file(folder / "model.safetensors",
             safetensors_bytes(R"({"head":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  const SafetensorsSet set(folder.path());
  const std::string message = error_of([&] { set.tensor("heda"); });
  EXPECT_THAT(message, HasSubstr("model.safetensors"));
  EXPECT_THAT(message, HasSubstr("heda"));
  EXPECT_THAT(message, HasSubstr("did you mean 'head'"));
}

TEST(SafetensorsHeader, RefusesFilesCutShort) {
  EXPECT_THAT(load_error(""), HasSubstr("0 bytes in the file"));
  EXPECT_THAT(load_error("1234567"), HasSubstr("7 bytes in the file"));
  const std::string whole =
      safetensors_bytes(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", "abcd");
  for (size_t size = 8; size < whole.size(); ++size) {
    EXPECT_THAT(load_error(whole.substr(0, size)), HasSubstr("found"));
  }
  EXPECT_THAT(load_error(whole + "e"), HasSubstr("5 bytes, expected 4 bytes"));
}

TEST(SafetensorsHeader, RefusesAbsurdLengths) {
  std::string bytes(16, '\xff');
  EXPECT_THAT(load_error(bytes), HasSubstr("18446744073709551615, expected at most 100000000"));
  bytes.replace(0, 8, std::string("\x09\0\0\0\0\0\0\0", 8));
  EXPECT_THAT(load_error(bytes), HasSubstr("9, expected at most the 8 bytes left"));
}

TEST(SafetensorsHeader, RefusesWhatIsNotItsJson) {
  EXPECT_THAT(header_error("", 0), HasSubstr("invalid JSON"));
  EXPECT_THAT(header_error("{", 0), HasSubstr("invalid JSON"));
  EXPECT_THAT(header_error("{} {}", 0), HasSubstr("invalid JSON"));
  EXPECT_THAT(header_error("{\"\xff\":{}}", 0), HasSubstr("invalid JSON"));
  EXPECT_THAT(header_error(std::string("{}\0", 3), 0), HasSubstr("NUL"));
  EXPECT_THAT(header_error("[]", 0), HasSubstr("found an array, expected an object"));
  EXPECT_THAT(header_error("null", 0), HasSubstr("found null, expected an object"));
  EXPECT_THAT(header_error(R"({"a":1})", 0), HasSubstr("a: found 1, expected an object"));
  EXPECT_THAT(header_error(R"({"a":{}})", 0), HasSubstr("a: found no dtype"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":"U8","shape":[0]}})", 0), HasSubstr("no data_offsets"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":{}}})", 0), HasSubstr("an object, expected a string"));
  EXPECT_THAT(header_error(R"({"a":{"dtype":[]}})", 0), HasSubstr("an array, expected a string"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[[1]]}})", 0), HasSubstr("an array, expected whole"));
  EXPECT_THAT(header_error(R"({"a":{"shape":"b"}})", 0), HasSubstr("expected an array of numbers"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[-1]}})", 0), HasSubstr("found -1"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[1.5]}})", 0), HasSubstr("found 1.5"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[1,1,1,1,1]}})", 0), HasSubstr("four dimensions"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[9223372036854775808]}})", 0), HasSubstr("2^63"));
  EXPECT_THAT(header_error(R"({"a":{"data_offsets":[0]}})", 0), HasSubstr("two numbers"));
  EXPECT_THAT(header_error(R"({"a":{"colour":1}})", 0), HasSubstr("key \"colour\""));
  EXPECT_THAT(header_error(R"({"__metadata__":{"a":1}})", 0), HasSubstr("expected a string"));
}

TEST(SafetensorsHeader, RefusesNamesAndKeysGivenTwice) {
  const std::string a = R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  EXPECT_THAT(header_error("{" + a + "," + a + "}", 1), HasSubstr("a: found the name twice"));
  EXPECT_THAT(header_error(R"({"a":{"shape":[1],"shape":[1]}})", 1),
              HasSubstr("a: shape: found the key twice"));
}

TEST(SafetensorsHeader, RefusesUnknownDTypes) {
  EXPECT_THAT(header_error(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", 8),
              HasSubstr("a: dtype: found \"C64\", expected one of F64"));
}

// One entry of a header with the tensor's dtype, shape and offsets.
std::string entry(const std::string& name, const std::string& shape, const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":"F32","shape":[)" + shape + R"(],"data_offsets":[)" + offsets +
         "]}";
}

TEST(SafetensorsHeader, RefusesOffsetsThatLie) {
  EXPECT_THAT(header_error("{" + entry("a", "2", "0,12") + "}", 12),
              HasSubstr("a: data_offsets: found [0, 12] = 12 bytes, expected 8 bytes"));
  EXPECT_THAT(header_error("{" + entry("a", "2", "8,0") + "}", 8), HasSubstr("[8, 0]"));
  EXPECT_THAT(header_error("{" + entry("a", "2", "0,8") + "}", 4),
              HasSubstr("the 4 bytes of data"));
  EXPECT_THAT(
      header_error("{" + entry("a", "2", "18446744073709551608,18446744073709551615") + "}", 8),
      HasSubstr("a part of"));
  EXPECT_THAT(header_error("{" + entry("a", "4294967296,4294967296", "0,0") + "}", 0),
              HasSubstr("a: shape: found a size that overflows"));
  EXPECT_THAT(header_error("{" + entry("a", "2", "0,8") + "," + entry("b", "2", "4,12") + "}", 12),
              HasSubstr("b: data_offsets: found [4, 12], expected begin 8"));
  EXPECT_THAT(header_error("{" + entry("a", "1", "0,4") + "," + entry("b", "1", "8,12") + "}", 12),
              HasSubstr("b: data_offsets: found [8, 12], expected begin 4"));
  EXPECT_THAT(header_error("{" + entry("a", "1", "4,8") + "}", 8), HasSubstr("expected begin 0"));
  EXPECT_THAT(header_error("{" + entry("a", "1", "0,4") + "}", 8),
              HasSubstr("8 bytes, expected 4"));
}

TEST(SafetensorsIndex, MustAgreeWithItsFiles) {
  const TempFolder folder;
  const auto index_error = [&](const std::string& index) {
    write_file(folder / "model.safetensors.index.json", index);
    return error_of([&] { SafetensorsSet set(folder.path()); });
  };
  write_file(folder / "1.safetensors",
             safetensors_bytes(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"));
  EXPECT_THAT(error_of([&] { SafetensorsSet set(folder.path()); }),
              HasSubstr("no safetensors file"));
  EXPECT_THAT(index_error("{"), HasSubstr("weight_map: found invalid JSON"));
  EXPECT_THAT(index_error("{}"), HasSubstr("weight_map: found none"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":3}})"), HasSubstr("a: found 3"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"../1.safetensors"}})"), HasSubstr("same folder"));
  EXPECT_THAT(index_error(R"({"weight_map":{"a":"2.safetensors"}})"), HasSubstr("2.safetensors"));
  EXPECT_THAT(index_error(R"({"weight_map":{"b":"1.safetensors"}})"), HasSubstr("tensor b"));
  write_file(folder / "model.safetensors.index.json", R"({"weight_map":{"a":"1.safetensors"}})");
  EXPECT_EQ(SafetensorsSet(folder.path()).tensor("a").elements(), 1);
}

TEST(SafetensorsWriter, SaysWhatItCannotWrite) {
  std::array<float, 1> value = {1};
  const Tensor tensor(value.data(), DType::f32, Device::cpu, {1});
  EXPECT_THAT(error_of([&] {
                write_safetensors("/no/such/folder/x", {{"a", tensor}});
              }),
              HasSubstr("/no/such/folder/x"));
  const TempFolder folder;
  EXPECT_THAT(error_of([&] {
                write_safetensors(folder / "x", {{"a", tensor}, {"a", tensor}});
              }),
              HasSubstr("a: found the name twice"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace kvg
