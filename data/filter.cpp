#include "data/filter.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"

namespace hone {
namespace {

// Words that more rows of the test sets have in common are an instruction, not a problem.
constexpr uint32_t kMostRows = 3;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// How texts are compared as a whole: small ASCII letters, any white space one space.
std::string normal(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space) {
      out += lower(c);
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// Hashes of the words: runs of letters and digits without regard to case; of scripts that write no
// spaces (U+3000 and up) each character.
std::vector<uint64_t> words_of(std::string_view text) {
  std::vector<uint64_t> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(mix64(hash64(word)));
    word.clear();
  };
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const char c = lower(text[i]);
    if (byte >= 0xE3) {
      end_word();
      word = text.substr(i, byte >= 0xF0 ? 4 : 3);
      i += word.size() - 1;
      end_word();
    } else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || byte >= 0x80) {
      word += c;
    } else {
      end_word();
    }
  }
  end_word();
  return words;
}

// Calls gram(hash) for each run of n words; stops where it returns true.
template <class Call>
void each_gram(const std::vector<uint64_t>& words, size_t n, Call gram) {
  constexpr uint64_t kBase = 0x9E3779B97F4A7C15ull;
  uint64_t hash = 0, oldest = 1;  // kBase to the power of n
  for (size_t i = 0; i < n; ++i) oldest *= kBase;
  for (size_t i = 0; i < words.size(); ++i) {
    hash = hash * kBase + words[i];
    if (i >= n) hash -= oldest * words[i - n];
    if (i + 1 >= n && gram(hash)) return;
  }
}

uint64_t whole_hash(const std::vector<uint64_t>& words) {
  uint64_t hash = words.size();
  for (const uint64_t word : words) hash = make_key(hash, word);
  return hash;
}

}  // namespace

bool is_held_out(const std::string& prompt, double share) {
  const uint64_t hash = make_key(hash64("split"), hash64(normal(prompt)));
  return static_cast<double>(hash >> 11) * 0x1.0p-53 < share;
}

RowFilter::RowFilter(const RowOptions& options, Split side) : options_(options), side_(side) {
  if (!(options.split.heldout >= 0 && options.split.heldout < 1)) {
    throw UserError(cat("data: split.heldout: expected a share from 0 to below 1, found ",
                        options.split.heldout));
  }
  if (options.max_chars < 0) {
    throw UserError(cat("data: max_chars: expected at least 0, found ", options.max_chars));
  }
  if (options.ngram < 1) {
    throw UserError(cat("data: ngram: expected at least 1, found ", options.ngram));
  }
  if (options.bad_rows != "stop" && options.bad_rows != "skip") {
    throw UserError(cat("data: bad_rows: expected stop or skip, found '", options.bad_rows, "'"));
  }
  for (const std::string& path : options.against) read_test_set(find_path(path));
}

void RowFilter::read_test_set(const std::string& path) {
  const auto n = static_cast<size_t>(options_.ngram);
  for_each_row(path, [&](const RowText& text) {
    const Row row = read_row(text.text, "auto", path, text.number);
    const auto place = static_cast<uint32_t>(places_.size());
    places_.push_back(row.where);
    const std::vector<uint64_t> words = words_of(texts_of(row).content);
    if (words.size() < n) short_texts_.emplace(whole_hash(words), place);
    each_gram(words, n, [&](uint64_t hash) {
      const auto [gram, fresh] = grams_.emplace(hash, Gram{place, 1});
      if (!fresh && gram->second.place != place) gram->second = {place, gram->second.rows + 1};
      return false;
    });
  });
  if (places_.empty()) throw UserError(cat(path, ": expected rows, the file is empty"));
}

std::string RowFilter::shared_with(const std::vector<uint64_t>& words) const {
  const auto n = static_cast<size_t>(options_.ngram);
  if (words.size() < n) {
    const auto found = short_texts_.find(whole_hash(words));
    return found == short_texts_.end() ? "" : "has all words of " + places_[found->second];
  }
  std::string out;
  each_gram(words, n, [&](uint64_t hash) {
    const auto found = grams_.find(hash);
    if (found == grams_.end() || found->second.rows > kMostRows) return false;
    out = cat("shares ", n, " words with ", places_[found->second.place]);
    return true;
  });
  return out;
}

std::optional<RowFilter::Verdict> RowFilter::judge(const RowTexts& texts) {
  const double heldout = options_.split.heldout;
  if (heldout > 0 && is_held_out(texts.prompt, heldout) != (side_ == Split::heldout)) {
    return Verdict{LeftOut::other_side, "on the other side of the split"};
  }
  if (options_.max_chars > 0) {
    const int64_t length = characters(texts.content);
    if (length > options_.max_chars) {
      return Verdict{LeftOut::too_long,
                     cat("has ", length, " characters, max_chars is ", options_.max_chars)};
    }
  }
  if (options_.dedupe && !seen_.insert(mix64(hash64(normal(texts.content)))).second) {
    return Verdict{LeftOut::repeated, "says the same as a row before it"};
  }
  if (!options_.against.empty()) {
    const std::string shared = shared_with(words_of(texts.content));
    if (!shared.empty()) return Verdict{LeftOut::in_test_set, shared};
  }
  return std::nullopt;
}

std::string FilterReport::words() const {
  static constexpr const char* kNames[] = {"bad", "too long", "repeated", "in a test set",
                                           "on the other side of the split"};
  std::string out = cat("left out ", rows - kept, " of ", rows, " rows");
  const char* separator = ": ";
  for (size_t i = 0; i < left_out.size(); ++i) {
    if (left_out[i] == 0) continue;
    out += cat(separator, left_out[i], " ", kNames[i]);
    separator = ", ";
  }
  for (const std::string& reason : first) out += "\n  " + reason;
  return out;
}

std::optional<Row> filter_row(RowFilter& filter, const RowText& text, const std::string& format,
                              const std::string& file, std::optional<RowKind> kind,
                              FilterReport& report,
                              const std::function<void(LeftOut, const std::string&)>& told) {
  ++report.rows;
  const auto leave_out = [&](LeftOut why, const std::string& reason) {
    ++report.left_out[static_cast<size_t>(why)];
    if (why == LeftOut::other_side) return;
    if (report.first.size() < FilterReport::kFirst) report.first.push_back(reason);
    if (told) told(why, reason);
  };
  try {
    Row row = read_row(text.text, format, file, text.number);
    if (kind.value_or(kind_of(row)) == RowKind::problem) {
      problem_of(row);
    } else {
      document_of(row);
    }
    const auto verdict = filter.judge(texts_of(row));
    if (!verdict) {
      ++report.kept;
      return row;
    }
    leave_out(verdict->why, cat(row.where, ": ", verdict->reason));
  } catch (const UserError& error) {
    if (!filter.skips_bad_rows()) throw;
    leave_out(LeftOut::bad, error.what());
  }
  return std::nullopt;
}

}  // namespace hone
