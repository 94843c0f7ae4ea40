#include "model/formats/torch_file.h"

#include "base/error.h"
#include "model/formats/test_files.h"
#include "model/formats/torch_pickle.h"
#include "model/formats/torch_test_files.h"
#include "model/formats/zip_archive.h"

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvg {
namespace {

using pickled::View;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string one_tensor(const View& view) {
  return pickled::whole(pickled::dict({{"layer", pickled::dict({{"w", pickled::tensor(view)}})}}));
}

TorchGroups parse(const std::string& file) { return parse_torch_file(file, "file.pt"); }

std::string file_error(const std::string& file) {
  return error_of([&] { parse(file); });
}
std::string pickle_error(const std::string& value) {
  return file_error(torch_bytes(pickled::whole(value)));
}

TEST(TorchFile, ReadsWhatTorchSaves) {
  const TorchFile file(golden_folder() / "mistral-coda/phase2/coda_adapters.pt");
  ASSERT_EQ(file.groups().size(), 2u);
  const auto& layer = file.groups().at("layer_1");
  EXPECT_EQ(layer.size(), 10u);
  const Tensor theta = file.tensor(layer.at("coda.theta"));
  EXPECT_EQ(theta.dtype, DType::bf16);
  EXPECT_EQ(theta.rank, 2);
  EXPECT_EQ(theta.shape[0], 4);
  EXPECT_EQ(theta.shape[1], 4);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(theta.data) % 64, 0u);  // as torch.save aligns it
}

TEST(TorchFile, ReadsEveryFormOfTheSameTensors) {
  const std::string w = pickled::tensor({});
  const std::string parameter = pickled::name("torch._utils", "_rebuild_parameter") + w + "\x88" +
                                pickled::ordered_dict() + "\x87R";
  const std::string attributes = pickled::dict({{"_metadata", pickled::ordered_dict()}}) + "b";
  for (const std::string& group : {pickled::dict({{"w", w}}), pickled::dict({{"w", parameter}}),
                                   pickled::ordered_dict() + pickled::text("w") + "q\x05" + w +
                                       "r" + le(70'000, 4) + "s" + attributes}) {
    for (const bool zip64 : {false, true}) {
      const TorchGroups groups =
          parse(torch_bytes(pickled::whole(pickled::dict({{"layer_0", group}})), zip64));
      const TorchEntry& entry = groups.at("layer_0").at("w");
      EXPECT_EQ(entry.shape, (std::vector<int64_t>{2, 3}));
      EXPECT_EQ(entry.end - entry.begin, 24u);
      EXPECT_EQ(entry.begin % 64, 0u);
    }
    EXPECT_EQ(parse(torch_bytes(pickled::whole("]" + group + "a"))).at("0").count("w"), 1u);
  }
}

TEST(TorchFile, TensorsMayBePartsOfAStorage) {
  View rows;
  rows.offset = 3;
  rows.shape = {1, 3};
  rows.strides = {77, 1};  // of an extent of one: means nothing
  const TorchGroups groups = parse(torch_bytes(one_tensor(rows)));
  const TorchGroups whole = parse(torch_bytes(one_tensor({})));
  EXPECT_EQ(groups.at("layer").at("w").begin, whole.at("layer").at("w").begin + 12);
  View half;
  half.type = "HalfStorage";
  half.storage_elements = 12;
  EXPECT_EQ(parse(torch_bytes(one_tensor(half))).at("layer").at("w").dtype, DType::f16);
}

TEST(TorchFile, TensorsOutsideTheirStorageAreRefused) {
  const auto refused = [](const std::function<void(View*)>& damage) {
    View view;
    damage(&view);
    return file_error(torch_bytes(one_tensor(view)));
  };
  constexpr int64_t kHuge = int64_t{1} << 62;
  EXPECT_THAT(refused([](View* v) { v->offset = 1; }),
              HasSubstr("layer: w: found 6 elements at 1, expected a part of the 6"));
  EXPECT_THAT(refused([](View* v) { v->offset = kHuge; }), HasSubstr("a part of the 6"));
  EXPECT_THAT(refused([](View* v) { v->offset = -1; }), HasSubstr("-1 for a tensor's offset"));
  EXPECT_THAT(refused([](View* v) {
                v->shape = {2, 4}, v->strides = {4, 1};
              }),
              HasSubstr("8 elements at 0"));
  EXPECT_THAT(refused([](View* v) { v->shape = {kHuge, kHuge}; }), HasSubstr("overflows"));
  EXPECT_THAT(refused([](View* v) { v->shape = {kHuge, kHuge, 0}; }), HasSubstr("overflows"));
  EXPECT_THAT(refused([](View* v) { v->shape = {-2, 3}; }), HasSubstr("-2 for a tensor's shape"));
  EXPECT_THAT(refused([](View* v) { v->shape = {1, 1, 1, 2, 3}; }), HasSubstr("four dimensions"));
  EXPECT_THAT(refused([](View* v) { v->strides = {1, 2}; }), HasSubstr("a strided view"));
  EXPECT_THAT(refused([](View* v) { v->strides = {1}; }), HasSubstr("a strided view"));
  EXPECT_THAT(refused([](View* v) { v->storage_elements = 5; }),
              HasSubstr("a storage of 24 bytes, expected 5 elements of f32"));
  EXPECT_THAT(refused([](View* v) { v->storage = "7"; }), HasSubstr("no entry archive/data/7"));
  EXPECT_THAT(refused([](View* v) { v->storage = std::string(21, '0'); }), HasSubstr("a number"));
}

TEST(TorchFile, BigEndianAndMisalignedFilesAreRefused) {
  const std::string pickle = one_tensor({});
  EXPECT_THAT(file_error(zip_bytes({{"a/data.pkl", pickle}, {"a/byteorder", "big"}})),
              HasSubstr("byteorder: found big, expected little"));
  EXPECT_THAT(file_error(zip_bytes({{"a/weights", ""}})), HasSubstr("data.pkl: found none"));
  // Everything behind one inserted byte moves; the padding of the storage gives no byte back.
  std::string moved = torch_bytes(pickle);
  moved.insert(0, "?");
  for (const char* signature : {"PK\1\2", "PK\5\6"}) {
    const size_t offset = signature[2] == 1 ? 42 : 16;
    for (size_t at = moved.find(signature); at != std::string::npos;
         at = moved.find(signature, at + 1)) {
      moved[at + offset] = static_cast<char>(moved[at + offset] + 1);
    }
  }
  EXPECT_THAT(file_error(moved), AllOf(HasSubstr("layer: w"), HasSubstr("a multiple of 4")));
}

// Nothing that a pickle names is ever run.
TEST(TorchPickle, ForeignNamesAreRefusedByName) {
  EXPECT_THAT(pickle_error(pickled::name("os", "system") + pickled::text("true") + "\x85R"),
              AllOf(HasSubstr("file.pt: data.pkl: byte 2"), HasSubstr("os.system")));
  EXPECT_THAT(pickle_error(pickled::name("builtins", "eval")), HasSubstr("builtins.eval"));
  EXPECT_THAT(pickle_error(pickled::name("torch", "LongStorage")), HasSubstr("torch.LongStorage"));
  EXPECT_THAT(pickle_error(pickled::name("numpy.core.multiarray", "_reconstruct")),
              HasSubstr("numpy.core.multiarray._reconstruct"));
  for (const std::string opcode :
       {"i", "o", "\x81", "\x93", "P", "\x82", "\x95", "2", "0", "\xff"}) {
    EXPECT_THAT(pickle_error(opcode), HasSubstr("opcode 0x")) << opcode;
  }
}

TEST(TorchPickle, BrokenProgramsAreRefused) {
  const std::string w = pickled::tensor({});
  EXPECT_THAT(pickle_error("u"), HasSubstr("no mark"));
  EXPECT_THAT(pickle_error("s"), HasSubstr("0 values, expected 2 on the stack"));
  EXPECT_THAT(pickle_error("(q\x01"), HasSubstr("an empty stack"));
  EXPECT_THAT(pickle_error("h\x09"), HasSubstr("memo 9"));
  EXPECT_THAT(pickle_error("}(Nu"), HasSubstr("a key without a value"));
  EXPECT_THAT(pickle_error("}NNs"), HasSubstr("None for a key, expected a string"));
  EXPECT_THAT(pickle_error("])a" + std::string("NNs")), HasSubstr("a list for what is filled"));
  EXPECT_THAT(pickle_error("X\xff\xff\xff\xff"), HasSubstr("4294967295 more bytes"));
  EXPECT_THAT(pickle_error("\x8a\xff"), HasSubstr("an integer of 255 bytes"));
  EXPECT_THAT(pickle_error("ccollections"), HasSubstr("the end of the data"));
  EXPECT_THAT(pickle_error(pickled::ordered_dict().substr(0, 25) + "N\x85R"),
              HasSubstr("OrderedDict with 1 arguments"));
  EXPECT_THAT(pickle_error("NQ"), HasSubstr("None for a storage"));
  EXPECT_THAT(pickle_error(w + "Nb"), HasSubstr("None for attributes"));
  EXPECT_THAT(file_error(torch_bytes("\x80\x04N.")), HasSubstr("protocol 4"));
  EXPECT_THAT(file_error(torch_bytes("")), HasSubstr("the end of the data"));
  EXPECT_THAT(file_error(torch_bytes(std::string(kMaxTorchPickle + 1, 'N'))),
              HasSubstr("at most 4000000 bytes"));
}

TEST(TorchPickle, OnlyDictionariesOfTensorsAreTaken) {
  const std::string w = pickled::tensor({});
  EXPECT_THAT(pickle_error("N"), HasSubstr("found None, expected a dictionary or a list"));
  EXPECT_THAT(pickle_error(w), HasSubstr("found a tensor"));
  EXPECT_THAT(pickle_error(pickled::dict({{"w", w}})), HasSubstr("w: found a tensor"));
  EXPECT_THAT(pickle_error("]" + w + "a"), HasSubstr("0: found a tensor"));
  EXPECT_THAT(pickle_error(pickled::dict({{"g", pickled::dict({{"step", "K\x05"}})}})),
              HasSubstr("g: step: found an integer, expected a tensor"));
  EXPECT_THAT(pickle_error(pickled::dict({{"g", pickled::dict({{"w", w}, {"w", w}})}})),
              HasSubstr("g: w: found the name twice"));
  EXPECT_THAT(pickle_error(pickled::dict({{"g", "}"}, {"g", "}"}})), HasSubstr("twice"));
  // A list that holds itself.
  EXPECT_THAT(pickle_error("]q\x01h\x01" + std::string("a")), HasSubstr("0: found a list"));
  // Few bytes that would stand for millions of tensors.
  std::string bomb = "](" + pickled::dict({{"a", w}, {"b", w}}) + "q\x01";
  for (int i = 0; i < 60'000; ++i) bomb += "h\x01";
  EXPECT_THAT(pickle_error(bomb + "e"), HasSubstr("at most 100000 in all"));
}

TEST(ZipArchive, DamagedDirectoriesAreRefused) {
  const std::string file = zip_bytes({{"a", "12345"}, {"b", ""}});
  const std::string large = zip_bytes({{"a", "12345"}, {"b", ""}}, true);
  EXPECT_EQ(parse_zip_directory(file, "f").at("a").size, 5u);
  EXPECT_EQ(parse_zip_directory(large, "f").at("a").size, 5u);
  const auto refused = [](std::string bytes, std::string_view record, size_t offset,
                          const std::string& patch) {
    bytes.replace(bytes.find(record) + offset, patch.size(), patch);
    return error_of([&] { parse_zip_directory(bytes, "f"); });
  };
  EXPECT_THAT(refused(file, "PK\1\2", 10, le(8, 2)), HasSubstr("a: found compression method 8"));
  EXPECT_THAT(refused(file, "PK\1\2", 8, le(1, 2)), HasSubstr("a: found encrypted"));
  EXPECT_THAT(refused(file, "PK\1\2", 20, le(4, 4)), HasSubstr("4 bytes for 5"));
  EXPECT_THAT(refused(file, "PK\1\2", 20, le(1'000, 4) + le(1'000, 4)), HasSubstr("1000 bytes at"));
  EXPECT_THAT(refused(file, "PK\1\2", 42, le(3, 4)), HasSubstr("its signature 04034b50"));
  EXPECT_THAT(refused(file, "PK\1\2", 42, le(1u << 30, 4)), HasSubstr("local header"));
  EXPECT_THAT(refused(file, "PK\1\2", 46, "b"), HasSubstr("b: found the name twice"));
  EXPECT_THAT(refused(file, "PK\1\2", 24, le(0xffffffff, 4)), HasSubstr("no ZIP64 field"));
  EXPECT_THAT(refused(file, "PK\5\6", 4, le(1, 2)), HasSubstr("several parts"));
  EXPECT_THAT(refused(file, "PK\1\2", 3, "\1"), HasSubstr("its signature 02014b50"));
  EXPECT_THAT(refused(file, "PK\5\6", 10, le(1, 2)), HasSubstr("bytes in its entries"));
  EXPECT_THAT(refused(file, "PK\5\6", 10, le(9'000, 2)), HasSubstr("9000 entries"));
  EXPECT_THAT(refused(file, "PK\5\6", 16, le(1u << 30, 4)), HasSubstr("it before byte"));
  EXPECT_THAT(refused(large, "PK\6\7", 8, le(UINT64_MAX, 8)), HasSubstr("ZIP64 end"));
  EXPECT_THAT(refused(large, "PK\6\7", 0, "nope"), HasSubstr("ZIP64 locator"));
  EXPECT_THAT(refused(large, "PK\6\6", 48, le(UINT64_MAX - 8, 8)), HasSubstr("it before byte"));
  EXPECT_THAT(refused(large, "abc", 5, le(8, 2)), HasSubstr("a: found"));
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_THAT(error_of([&] { parse_zip_directory(file.substr(0, size), "f"); }),
                HasSubstr("no end of a ZIP archive"));
  }
}

}  // namespace
}  // namespace kvg
