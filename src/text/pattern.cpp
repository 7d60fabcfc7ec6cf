#include "text/pattern.h"

namespace hone {

Pattern::Pattern(const JsonField& field) {
  if (const auto regex = field.find("Regex")) {
    regex_.emplace(regex->text(), regex->where);
  } else if (const auto literal = field.find("String")) {
    literal_ = literal->text();
    // Nothing matches between all characters.
    if (literal_.empty()) regex_.emplace("", literal->where);
  } else {
    field.fail("{\"String\": ...} or {\"Regex\": ...}");
  }
}

void Pattern::find_all(std::string_view text, std::vector<Span>& matches) const {
  if (regex_) return regex_->find_all(text, matches);
  for (size_t at = text.find(literal_); at != std::string_view::npos;
       at = text.find(literal_, at + literal_.size())) {
    matches.push_back({at, at + literal_.size()});
  }
}

std::string Pattern::replaced(std::string_view text, std::string_view content) const {
  std::vector<Span> matches;
  find_all(text, matches);
  std::string out;
  out.reserve(text.size() + matches.size() * content.size());
  size_t done = 0;
  for (const Span& match : matches) {
    out += text.substr(done, match.begin - done);
    out += content;
    done = match.end;
  }
  out += text.substr(done);
  return out;
}

}  // namespace hone
