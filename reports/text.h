#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kvg::reports {

// Text that leaves the program. Everything a record holds may be arbitrary bytes (models write what
// they like), so nothing reaches a page, a table or a terminal without passing through here.

// Valid UTF-8 from arbitrary bytes: ill-formed sequences and control characters other than tab and
// newline become U+FFFD.
std::string valid_utf8(std::string_view bytes);

// Valid UTF-8 with & < > " ' escaped: safe as the text and as an attribute of HTML and SVG.
std::string escape_html(std::string_view bytes);

// One cell of a Markdown table: one line, pipes and markup characters escaped.
std::string markdown_cell(std::string_view bytes);

// One field of a CSV file (RFC 4180): quoted when it must be.
std::string csv_field(std::string_view bytes);

// The first `limit` characters (not bytes) of valid UTF-8, with "..." when something was cut.
std::string shorten(std::string_view text, size_t limit);

// Number of characters (code points) of valid UTF-8.
size_t character_count(std::string_view text);

// Fixed decimals; never "-0.00"; a proper minus sign; "n/a" for NaN and infinities.
std::string fixed(double value, int decimals);
// The same, with a leading plus for positive values.
std::string signed_fixed(double value, int decimals);
// A share in [0, 1] as "12.3 %".
std::string percent(double share, int decimals = 1);
// 1771392 -> "1,771,392"
std::string thousands(int64_t value);
// 1771392 -> "1.77 MB" (decimal units, three significant digits)
std::string human_bytes(double bytes);
// A p-value: "0.032", "< 0.001"
std::string p_value(double p);

}  // namespace kvg::reports
