#include "reports/line_reader.h"

#include "base/error.h"

#include <cstring>

#include <fmt/format.h>
#include <zlib.h>

namespace kvg::reports {

namespace {

constexpr unsigned kBufferBytes = 1 << 17;

}  // namespace

LineReader::LineReader(std::filesystem::path path)
    : path_(std::move(path)), file_(nullptr), buffer_(std::make_unique<char[]>(kBufferBytes)) {
  if (!std::filesystem::is_regular_file(path_)) {
    throw Error(path_.string(), "", "nothing", "the lines of a run");
  }
  file_ = gzopen(path_.c_str(), "rb");
  if (file_ == nullptr) throw Error(path_.string(), "", "a read error", "a readable file");
  // zlib passes on what is no archive as it is.
  if (path_.extension() == ".gz" && gzdirect(file_) != 0) {
    gzclose(file_);
    throw Error(path_.string(), "", "a file of another kind", "a gzip archive");
  }
}

LineReader::~LineReader() { gzclose(file_); }

std::string LineReader::where() const { return fmt::format("{}:{}", path_.string(), number_); }

bool LineReader::refill() {
  const int count = gzread(file_, buffer_.get(), kBufferBytes);
  int code = Z_OK;
  const char* message = gzerror(file_, &code);
  // Z_BUF_ERROR: the archive ends early; the part before it was given out already.
  if (count < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    const bool archive = path_.extension() == ".gz" && code != Z_ERRNO;
    throw Error(path_.string(), "",
                archive ? fmt::format("a damaged or cut-off archive ({})", message)
                        : std::string("a read error"),
                archive ? "a whole gzip archive" : "a readable file");
  }
  at_ = 0;
  end_ = static_cast<size_t>(count);
  return count > 0;
}

bool LineReader::next(std::string* line) {
  line->clear();
  unfinished_ = false;
  bool any = false;
  while (at_ < end_ || refill()) {
    any = true;
    const char* begin = buffer_.get() + at_;
    const void* found = std::memchr(begin, '\n', end_ - at_);
    if (found != nullptr) {
      const auto length = static_cast<size_t>(static_cast<const char*>(found) - begin);
      line->append(begin, length);
      at_ += length + 1;
      ++number_;
      return true;
    }
    line->append(begin, end_ - at_);
    at_ = end_;
  }
  if (!any) return false;
  unfinished_ = true;
  ++number_;
  return true;
}

std::filesystem::path items_path(const std::filesystem::path& directory) {
  const std::filesystem::path plain = directory / "items.jsonl",
                              packed = directory / "items.jsonl.gz";
  const bool has_plain = std::filesystem::exists(plain);
  const bool has_packed = std::filesystem::exists(packed);
  if (has_plain && has_packed) {
    throw Error(directory.string(), "", "both items.jsonl and items.jsonl.gz", "one of them");
  }
  if (!has_plain && !has_packed) {
    throw Error(plain.string(), "", "nothing",
                "the items of a run (items.jsonl or items.jsonl.gz)");
  }
  return has_plain ? plain : packed;
}

}  // namespace kvg::reports
