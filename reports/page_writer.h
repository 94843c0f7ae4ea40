#pragma once

#include <string>
#include <vector>

namespace kvg::reports {

// Collects the body of a report page; numbers the figures in the order in which they appear. All
// texts are escaped here.
class PageWriter {
 public:
  void heading(const std::string& title);
  void subheading(const std::string& title);
  void paragraph(const std::string& text, const char* css = "");
  // Drawings side by side under one caption; nothing when there is none.
  void figure(const std::vector<std::string>& drawings, const std::string& caption);
  // A list; nothing when it is empty. `css` is "notes" or "note".
  void list(const std::vector<std::string>& items, const char* css);
  // The kicker, the title and a line of facts, name and value; opens the main part.
  void header(const std::string& kicker, const std::string& title,
              const std::vector<std::pair<std::string, std::string>>& facts);
  // "INCOMPLETE" and why, in a banner.
  void incomplete(const std::string& why);
  // Ready-made markup.
  void raw(const std::string& markup) { out_ += markup; }

  std::string take() { return std::move(out_); }

 private:
  std::string out_;
  int figures_ = 0;
};

// The whole page: style and figures inline, no script, nothing fetched.
std::string html_document(const std::string& title, const std::string& body,
                          const std::string& footer);

// "2026-01-01T00:00:00Z" as "2026-01-01 00:00 UTC"; anything else as it is.
std::string printed_time(const std::string& iso);

}  // namespace kvg::reports
