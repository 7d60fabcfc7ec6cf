// Which rows of a file serve: not too long, not seen before, not in a test set, on the right side
// of a split.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "data/dataset.h"
#include "data/readers/row.h"
#include "data/readers/row_reader.h"

namespace hone {

enum class LeftOut { bad, too_long, repeated, in_test_set, other_side };

// Holds a hash of each row that it lets through where it looks for repeated ones, and of the test
// sets a hash for each word.
class RowFilter {
 public:
  // `side` matters if the options split. Reads the test sets. Throws UserError.
  RowFilter(const RowOptions& options, Split side);

  struct Verdict {
    LeftOut why;
    std::string reason;  // "shares 13 words with test.jsonl:3: ..."
  };
  // Rows in the order of the file; none: the row serves.
  std::optional<Verdict> judge(const RowTexts& texts);
  bool skips_bad_rows() const { return options_.bad_rows == "skip"; }

 private:
  // A run of n words of a test set: the row it was last seen in, and in how many it stands.
  struct Gram {
    uint32_t place, rows;
  };
  void read_test_set(const std::string& path);
  // The row of a test set that shares text with these words; "" if none does.
  std::string shared_with(const std::vector<uint64_t>& words) const;

  RowOptions options_;
  Split side_;
  std::unordered_set<uint64_t> seen_;
  std::vector<std::string> places_;  // of the rows of test sets
  std::unordered_map<uint64_t, Gram> grams_;
  std::unordered_map<uint64_t, uint32_t> short_texts_;  // all words of a text with fewer -> place
};

// What a filter did with a file.
struct FilterReport {
  static constexpr size_t kFirst = 3;
  int64_t rows = 0, kept = 0;
  std::array<int64_t, 5> left_out = {};  // by LeftOut
  std::vector<std::string> first;        // the first reasons; the other side of a split needs none

  std::string words() const;  // "7 of 10 rows: 2 repeated, 1 bad; x.jsonl:3: ..."
};

// Reads the row, judges it and counts it; none: it is left out. Every row that is left out is told
// to `told`, if there is one. Throws UserError for a bad row unless the options skip those.
std::optional<Row> filter_row(RowFilter& filter, const RowText& text, const std::string& format,
                              const std::string& file, std::optional<RowKind> kind,
                              FilterReport& report,
                              const std::function<void(LeftOut, const std::string&)>& told = {});

// Whether a split puts a row with this prompt on the held-out side: a function of the prompt alone.
bool is_held_out(const std::string& prompt, double share);

}  // namespace hone
