#include "text/added_tokens.h"

#include <algorithm>

#include "base/error.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace hone {
namespace {

std::string_view last_character(std::string_view text) {
  size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

}  // namespace

void AddedTokenMatcher::add(const std::string& pattern, int32_t id, const AddedToken& token,
                            const std::string& where) {
  if (pattern.empty()) return;
  uint32_t node = 0;
  for (const char c : pattern) {
    auto& children = nodes_[node].children;
    const auto it = std::find_if(children.begin(), children.end(),
                                 [&](const auto& child) { return child.first == c; });
    if (it != children.end()) {
      node = it->second;
      continue;
    }
    const auto fresh = static_cast<uint32_t>(nodes_.size());
    children.emplace_back(c, fresh);
    nodes_.emplace_back();
    node = fresh;
  }
  starts_[static_cast<unsigned char>(pattern[0])] = true;
  nodes_[node].token = static_cast<int32_t>(tokens_.size());
  tokens_.push_back({id, token.single_word, token.lstrip, token.rstrip});
  if (token.single_word && !word_) word_.emplace(cat("\\A[", kRustWordItems, "]"), where);
}

bool AddedTokenMatcher::touches_word(std::string_view text, Span match) const {
  std::vector<Span> found;
  if (match.begin > 0) word_->find_all(last_character(text.substr(0, match.begin)), found);
  if (match.end < text.size()) {
    const std::string_view rest = text.substr(match.end);
    word_->find_all(rest.substr(0, utf8_step(rest).length), found);
  }
  return !found.empty();
}

void AddedTokenMatcher::split(std::string_view text, std::vector<TextPart>& parts) const {
  size_t done = 0;  // bytes that are in parts
  for (size_t at = 0; at < text.size() && !empty();) {
    if (!starts_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    uint32_t node = 0;
    int32_t best = -1;
    size_t best_end = at;
    for (size_t i = at; i < text.size(); ++i) {
      const auto& children = nodes_[node].children;
      const auto it = std::find_if(children.begin(), children.end(),
                                   [&](const auto& child) { return child.first == text[i]; });
      if (it == children.end()) break;
      node = it->second;
      if (nodes_[node].token >= 0) {
        best = nodes_[node].token;
        best_end = i + 1;
      }
    }
    if (best < 0) {
      ++at;
      continue;
    }
    const Token& token = tokens_[static_cast<size_t>(best)];
    Span match{at, best_end};
    at = best_end;
    if (token.single_word && touches_word(text, match)) continue;
    while (token.lstrip && match.begin > done) {
      const std::string_view c = last_character(text.substr(done, match.begin - done));
      if (!is_white_space(first_code_point(c))) break;
      match.begin -= c.size();
    }
    match.begin = std::max(match.begin, done);
    while (token.rstrip && match.end < text.size() &&
           is_white_space(first_code_point(text.substr(match.end)))) {
      match.end += utf8_step(text.substr(match.end)).length;
    }
    if (done < match.begin) parts.push_back({-1, {done, match.begin}});
    parts.push_back({token.id, match});
    done = match.end;
  }
  if (done < text.size()) parts.push_back({-1, {done, text.size()}});
}

}  // namespace hone
