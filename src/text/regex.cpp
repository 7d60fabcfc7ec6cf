#include "text/regex.h"

#include <algorithm>

#include "base/error.h"
#include "text/oniguruma.h"
#include "text/utf8.h"

#ifdef HONE_WITH_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

namespace hone {

#ifdef HONE_WITH_PCRE2

bool has_regex_library() { return true; }

namespace {

// Backtracking steps and KiB for one match: a text of a megabyte passes, a pattern with nested
// repetition ends in seconds on it, and in a tenth of one on a short text.
constexpr uint32_t kHeapLimit = 1'000'000;
uint32_t match_limit(size_t bytes) {
  return static_cast<uint32_t>(std::min<size_t>(2'000'000 + 48 * bytes, 50'000'000));
}

struct MatchData {
  MatchData(const pcre2_code* code, size_t bytes)
      : data(pcre2_match_data_create_from_pattern(code, nullptr)),
        context(pcre2_match_context_create(nullptr)) {
    pcre2_set_match_limit(context, match_limit(bytes));
    pcre2_set_heap_limit(context, kHeapLimit);
  }
  ~MatchData() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
  }
  MatchData(const MatchData&) = delete;
  MatchData& operator=(const MatchData&) = delete;

  pcre2_match_data* data;
  pcre2_match_context* context;
};

std::string pcre2_message(int error) {
  char text[256] = "";
  pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(text), sizeof text);
  return text;
}

}  // namespace

struct Regex::Code {
  pcre2_code* code = nullptr;
  bool compiled = false;  // to machine code
  std::string where;
  ~Code() { pcre2_code_free(code); }
};

Regex::Regex(const std::string& pattern, const std::string& where) {
  const std::string translated = pcre2_from_oniguruma(pattern, where);
  auto code = std::make_shared<Code>();
  int error = 0;
  size_t at = 0;
  code->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                             PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C,
                             &error, &at, nullptr);
  if (code->code == nullptr) {
    throw UserError(cat(where, ": expected a regular expression, found ", pattern,
                        " (PCRE2: ", pcre2_message(error), ")"));
  }
  code->compiled = pcre2_jit_compile(code->code, PCRE2_JIT_COMPLETE) == 0;
  code->where = where;
  code_ = std::move(code);
}

void Regex::find_all(std::string_view text, std::vector<Span>& matches) const {
  const MatchData m(code_->code, text.size());
  const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const size_t* found = pcre2_get_ovector_pointer(m.data);
  size_t from = 0, last_end = std::string_view::npos;
  while (from <= text.size()) {
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (code_->compiled) {
      rc = pcre2_jit_match(code_->code, subject, text.size(), from, 0, m.data, m.context);
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // machine code has a small stack of its own
      rc = pcre2_match(code_->code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       m.data, m.context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return;
    if (rc < 0) {
      throw UserError(cat(code_->where, ": this regular expression cannot be matched against a ",
                          "text of ", text.size(), " bytes (PCRE2: ", pcre2_message(rc), ")"));
    }
    const Span match{found[0], found[1]};
    // An empty match right behind another counts as none, as in Oniguruma's Rust binding.
    const bool counts = match.begin != match.end || match.end != last_end;
    if (counts) matches.push_back(match);
    last_end = match.end;
    from = match.end;
    if (match.begin >= match.end && !counts) {
      if (from >= text.size()) return;
      from += utf8_step(text.substr(from)).length;
    }
  }
}

#else

bool has_regex_library() { return false; }

struct Regex::Code {};

Regex::Regex(const std::string&, const std::string& where) {
  throw UserError(cat(where,
                      ": this tokenizer needs PCRE2 for its regular expressions, and this "
                      "hone was built without it; install libpcre2-dev and build again "
                      "(scripts/setup)"));
}

void Regex::find_all(std::string_view, std::vector<Span>&) const {}

#endif

}  // namespace hone
