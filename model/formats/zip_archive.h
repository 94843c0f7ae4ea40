#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace kvg {

// The bytes [begin, begin + size) of an archive's file that are one entry's content.
struct ZipEntry {
  uint64_t begin = 0;
  uint64_t size = 0;
};

// Reads the directory of a ZIP archive (PKWARE's APPNOTE 6.3, ZIP64 included) of which `file` is
// the content; `where` names it in errors. Entries must be stored as they are, so that a mapped
// archive is read without a copy: compressed or encrypted ones are refused, as are archives cut
// short or in parts, names given twice, and records that point outside the file. Checksums are not
// looked at.
std::map<std::string, ZipEntry> parse_zip_directory(std::string_view file,
                                                    const std::string& where);

}  // namespace kvg
