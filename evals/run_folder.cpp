#include "evals/run_folder.h"

#include "base/error.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kvg {
namespace {

[[noreturn]] void fail(const std::filesystem::path& file, std::string_view what) {
  throw Error(file.string(), what, std::strerror(errno), "a writable folder with space left");
}

int open_file(const std::filesystem::path& file, int flags) {
  const int descriptor = ::open(file.c_str(), flags | O_CLOEXEC, 0644);
  if (descriptor < 0) fail(file, "open");
  return descriptor;
}

// Writes everything or throws.
void write_all(int descriptor, std::string_view bytes, const std::filesystem::path& file) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(file, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  // Devices and pipes cannot be synchronised, and need not be.
  if (::fsync(descriptor) != 0 && errno != EINVAL) fail(file, "write");
}

}  // namespace

RunFolder::RunFolder(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code problem;
  std::filesystem::create_directories(path_, problem);
  if (problem) throw Error(path_.string(), "create", problem.message(), "a writable folder");
  const std::filesystem::path lock_file = path_ / ".lock";
  lock_ = open_file(lock_file, O_RDWR | O_CREAT);
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const bool busy = errno == EWOULDBLOCK;
    ::close(lock_);
    if (!busy) fail(lock_file, "lock");
    throw Error(path_.string(), "lock", "held by another process", "one process a run");
  }
  try {
    items_ = open_file(path_ / "items.jsonl", O_RDWR | O_CREAT | O_APPEND);
    load_lines();
  } catch (...) {
    if (items_ >= 0) ::close(items_);
    ::close(lock_);
    throw;
  }
}

RunFolder::~RunFolder() {
  ::close(items_);
  ::close(lock_);
}

void RunFolder::load_lines() {
  const std::filesystem::path file = path_ / "items.jsonl";
  struct stat status {};
  if (::fstat(items_, &status) != 0) fail(file, "read");
  std::string content(static_cast<size_t>(S_ISREG(status.st_mode) ? status.st_size : 0), '\0');
  for (size_t at = 0; at < content.size();) {
    const ssize_t got =
        ::pread(items_, content.data() + at, content.size() - at, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail(file, "read");
    at += static_cast<size_t>(got);
  }
  const size_t last = content.rfind('\n');
  size_ = last == std::string::npos ? 0 : static_cast<int64_t>(last) + 1;
  if (size_ < static_cast<int64_t>(content.size()) && ::ftruncate(items_, size_) != 0) {
    fail(file, "cut off a torn line");
  }
  for (size_t at = 0; static_cast<int64_t>(at) < size_;) {
    const size_t end = content.find('\n', at);
    lines_.push_back(content.substr(at, end - at));
    at = end + 1;
  }
}

std::string RunFolder::read_run() const {
  std::ifstream file(path_ / "run.json", std::ios::binary);
  std::ostringstream content;
  if (file) content << file.rdbuf();
  return std::move(content).str();
}

void RunFolder::append(std::string_view line) {
  const std::filesystem::path file = path_ / "items.jsonl";
  std::string whole(line);
  whole += '\n';
  try {
    write_all(items_, whole, file);
  } catch (...) {
    // What reached the disk of this line goes again; if even that fails, the next start cuts it
    // off.
    if (::ftruncate(items_, size_) != 0) errno = 0;
    throw;
  }
  size_ += static_cast<int64_t>(whole.size());
}

void RunFolder::write_run(std::string_view json) {
  const std::filesystem::path file = path_ / "run.json";
  const std::filesystem::path temporary = path_ / "run.json.new";
  const int descriptor = open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  try {
    write_all(descriptor, json, file);
  } catch (...) {
    ::close(descriptor);
    ::unlink(temporary.c_str());
    throw;
  }
  if (::close(descriptor) != 0) fail(file, "write");
  if (::rename(temporary.c_str(), file.c_str()) != 0) fail(file, "rename");
}

}  // namespace kvg
