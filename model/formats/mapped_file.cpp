#include "model/formats/mapped_file.h"

#include "base/error.h"

#include <cerrno>
#include <cstdint>
#include <cstring>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace kvg {

namespace {

// Closes the descriptor on every way out; the mapping does not need it.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat status {};
  if (file.number() < 0 || ::fstat(file.number(), &status) != 0) {
    throw Error(path.string(), "", std::strerror(errno), "a readable file");
  }
  if (!S_ISREG(status.st_mode)) throw Error(path.string(), "", "not a file", "a regular file");
  size_ = static_cast<size_t>(status.st_size);
  if (size_ == 0) return;  // nothing to map; an empty span
  void* mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.number(), 0);
  if (mapped == MAP_FAILED) {
    throw Error(path.string(), "", std::strerror(errno), "a file that can be mapped into memory");
  }
  data_ = static_cast<std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void MappedFile::drop_pages(size_t begin, size_t size) const {
  // Whole pages inside the part only: its first and last page may hold a neighbour's data.
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t first = (begin + page - 1) / page * page;
  const size_t last = (begin + size) / page * page;
  if (data_ == nullptr || first >= last || last > size_) return;
  ::madvise(data_ + first, last - first, MADV_DONTNEED);
}

}  // namespace kvg
