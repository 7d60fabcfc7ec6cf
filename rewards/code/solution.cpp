#include "rewards/code/solution.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "rewards/extraction.h"

namespace hone {

// Last the built-in names, which some modules hide (math's pow), and the modules, which others hide
// (bisect.bisect).
const char* const kPythonPrelude = R"(from typing import *
from collections import *
from bisect import *
from copy import *
from functools import *
from heapq import *
from itertools import *
from math import *
from operator import *
from string import *
from builtins import *
import bisect, collections, copy, datetime, functools, heapq
import itertools, json, math, operator, random, re, statistics, string, sys
)";

namespace {

struct Block {
  std::string tag;
  std::string code;
  size_t begin = 0, end = 0;  // with its fences
};

bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool word_char(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         (c & 0x80) != 0;
}

// Backticks that may be a fence: their place in the line, and how many.
struct Ticks {
  size_t begin = 0, count = 0;
  size_t end() const { return begin + count; }
};

// The first and the last run of three or more backticks in a line, and the number of runs.
struct LineTicks {
  Ticks first, last;
  size_t runs = 0;
};

LineTicks find_ticks(std::string_view line) {
  LineTicks found;
  for (size_t i = line.find("```"); i != std::string_view::npos; i = line.find("```", i)) {
    Ticks ticks{i, 0};
    while (i < line.size() && line[i] == '`') ++i;
    ticks.count = i - ticks.begin;
    if (found.runs++ == 0) found.first = ticks;
    found.last = ticks;
  }
  return found;
}

size_t indent_of(std::string_view line) {
  size_t i = 0;
  while (i < line.size() && (line[i] == ' ' || line[i] == '\t')) ++i;
  return i;
}

// The language after an opening fence, in lower case: python of "{.python title=x}".
std::string tag_after(std::string_view info) {
  info = trimmed(info);
  while (!info.empty() && (info[0] == '{' || info[0] == '.')) info.remove_prefix(1);
  std::string tag;
  for (char c : info) {
    if (space(c) || c == '}' || c == ',' || c == ':') break;
    tag += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  }
  return tag;
}

bool known_tag(std::string_view tag, Language& language) {
  if (tag == "py" || tag == "py3" || tag.starts_with("python")) {
    language = Language::python;
    return true;
  }
  for (const char* name : {"c", "cc", "cxx", "c++", "cpp"}) {
    const std::string_view known = name;
    // also cpp17 and c++20
    if (tag == known || (known.size() == 3 && tag.starts_with(known) &&
                         tag.find_first_not_of("0123456789", 3) == std::string_view::npos)) {
      language = Language::cpp;
      return true;
    }
  }
  return false;
}

// The fenced blocks of a text. Markdown's rules, and what models write beside them:
// - a fence opens also at the end of a line of prose or right after <answer>;
// - it is closed by a line of at least as many backticks, which a tag or words of prose may follow
//   (</answer>), not further in than the opening one: a docstring may have fences of its own.
//   Only where no such line comes does one further in close, or one at the end of a line of code.
class FenceScanner {
 public:
  explicit FenceScanner(std::string_view text) : text_(text) {}

  std::vector<Block> blocks;
  bool unclosed = false;  // the last block
  void scan() {
    for (size_t start = 0; start < text_.size();) {
      const size_t end = std::min(text_.find('\n', start), text_.size());
      line(start, text_.substr(start, end - start));
      start = end + 1;
    }
    if (!open_) return;
    if (loose_end_ != kNone) {
      close(loose_end_, loose_next_);
    } else {
      close(text_.size(), text_.size());
      unclosed = true;
    }
  }

 private:
  static constexpr size_t kNone = SIZE_MAX;

  void line(size_t start, std::string_view line) {
    const LineTicks ticks = find_ticks(line);
    if (ticks.runs == 0) return;
    const size_t indent = indent_of(line);
    const bool first_in_line = ticks.first.begin == indent;
    if (open_) {
      const std::string_view rest = line.substr(ticks.first.end());
      const bool tagged = !rest.empty() && word_char(rest[0]);
      const bool shallow = indent <= indent_ + 3;
      Language language;
      if (first_in_line && ticks.first.count >= count_ && !tagged) {
        if (shallow && ticks.runs == 1) return close(start, start + ticks.first.end());
        note_loose(start, start + ticks.first.end());
        return;
      }
      // A new block opens although the last was not closed.
      if (first_in_line && shallow && tagged && known_tag(tag_after(rest), language)) {
        if (loose_end_ != kNone) {
          close(loose_end_, loose_next_);
        } else {
          open_ = false;
        }
      } else {
        const std::string_view after = trimmed(line.substr(ticks.last.end()));
        if (!first_in_line && ticks.runs % 2 == 1 && ticks.last.count >= count_ &&
            (after.empty() || after[0] == '<')) {
          note_loose(start + ticks.last.begin, start + ticks.last.end());
        }
        return;
      }
    }
    // Backticks in pairs are code within a line.
    if (ticks.runs % 2 == 0) return;
    open_ = true;
    begin_ = start + ticks.last.begin;
    count_ = ticks.last.count;
    indent_ = first_in_line ? indent : 0;
    content_ = std::min(start + line.size() + 1, text_.size());
    tag_ = tag_after(line.substr(ticks.last.end()));
    loose_end_ = kNone;
  }

  void note_loose(size_t end, size_t next) {
    if (loose_end_ != kNone) return;
    loose_end_ = end;
    loose_next_ = next;
  }

  // The content without the indentation of its opening fence.
  void close(size_t end, size_t next) {
    Block block;
    block.tag = tag_;
    block.begin = begin_;
    block.end = next;
    std::string_view content = text_.substr(content_, std::max(end, content_) - content_);
    while (!content.empty()) {
      const size_t length = std::min(content.find('\n'), content.size() - 1) + 1;
      const std::string_view whole = content.substr(0, length);
      block.code += whole.substr(std::min(indent_, indent_of(whole)));
      content.remove_prefix(length);
    }
    blocks.push_back(std::move(block));
    open_ = false;
  }

  std::string_view text_;
  bool open_ = false;
  size_t begin_ = 0, content_ = 0, count_ = 0, indent_ = 0;
  size_t loose_end_ = kNone, loose_next_ = 0;
  std::string tag_;
};

Language guess_language(std::string_view code) {
  for (size_t start = 0; start < code.size();) {
    const size_t end = std::min(code.find('\n', start), code.size());
    const std::string_view line = trimmed(code.substr(start, end - start));
    if (line.starts_with("#include") || line.starts_with("using namespace ") ||
        line.starts_with("int main(")) {
      return Language::cpp;
    }
    start = end + 1;
  }
  return Language::python;
}

// The <answer> tags outside the blocks: narrows `text` to what one pair encloses and drops the
// blocks outside. Returns the reason if there is no single answer.
const char* narrow_to_answer(std::string_view& text, std::vector<Block>& blocks) {
  const auto outside = [&](size_t place) {
    const auto after = std::upper_bound(blocks.begin(), blocks.end(), place,
                                        [](size_t p, const Block& b) { return p < b.begin; });
    return after == blocks.begin() || place >= std::prev(after)->end;
  };
  const auto next = [&](std::string_view tag, size_t from) {
    size_t place = find_text(text, tag, from);
    while (place != std::string_view::npos && !outside(place)) {
      place = find_text(text, tag, place + 1);
    }
    return place;
  };
  const size_t open = next("<answer>", 0);
  if (open == std::string_view::npos) return "";
  const size_t begin = open + 8, end = next("</answer>", begin);
  if (end == std::string_view::npos) return "unterminated_answer";
  if (next("<answer>", begin) != std::string_view::npos) return "several_answers";
  std::erase_if(blocks, [&](const Block& b) { return b.begin < begin || b.begin >= end; });
  text = text.substr(begin, end - begin);
  return "";
}

// How well a block fits as the program, by its tag: in a language that we run and that is asked
// for, without a tag, another.
int rank_of(const Block& block, Language wanted) {
  Language language;
  if (known_tag(block.tag, language)) {
    return wanted == Language::automatic || wanted == language ? 2 : 0;
  }
  return block.tag.empty() ? 1 : 0;
}

bool name_at(std::string_view text, std::string_view name) {
  return text.starts_with(name) && (text.size() == name.size() || !word_char(text[name.size()]));
}

// Where the last outermost definition of `name` begins; npos without one.
size_t find_definition(std::string_view code, std::string_view name) {
  size_t found = std::string_view::npos;
  for (size_t start = 0; start < code.size();) {
    const size_t end = std::min(code.find('\n', start), code.size());
    std::string_view line = code.substr(start, end - start);
    bool keyword = false;
    for (const std::string_view word : {"async ", "def ", "class "}) {
      if (!line.starts_with(word)) continue;
      keyword = word != "async ";
      line = line.substr(word.size());
      while (!line.empty() && line[0] == ' ') line.remove_prefix(1);
    }
    if (name_at(line, name)) {
      const std::string_view rest = trimmed(line.substr(name.size()));
      const bool assigned =
          (rest.starts_with('=') && !rest.starts_with("==")) || rest.starts_with(": ");
      if (keyword || assigned) found = start;
    }
    start = end + 1;
  }
  return found;
}

}  // namespace

Solution extract_solution(const RewardItem& item, const SolutionOptions& options) {
  Solution solution;
  const std::optional<std::string_view> answer = answer_part(item);
  if (!answer) {
    solution.reason = "unclosed_thinking";
    return solution;
  }
  std::string_view text = *answer;
  FenceScanner scanner(text);
  scanner.scan();
  std::vector<Block>& blocks = scanner.blocks;
  if (scanner.unclosed && item.completion->finish_reason != FinishReason::stop) {
    solution.reason = "unclosed_fence";
    return solution;
  }
  solution.reason = narrow_to_answer(text, blocks);
  if (*solution.reason != '\0') return solution;

  int best = 0;
  for (const Block& block : blocks) best = std::max(best, rank_of(block, options.language));
  std::erase_if(blocks, [&](const Block& b) { return rank_of(b, options.language) < best; });
  std::string tag;
  solution.fenced = !blocks.empty();
  if (blocks.empty()) {
    solution.code = text;
  } else if (options.fence == Fence::all) {
    for (const Block& block : blocks) solution.code += block.code + "\n";
    tag = blocks.back().tag;
  } else {
    Block& block = options.fence == Fence::first ? blocks.front() : blocks.back();
    solution.code = std::move(block.code);
    tag = block.tag;
  }
  if (trimmed(solution.code).empty()) solution.reason = "empty";
  solution.language = options.language;
  if (options.language == Language::automatic && !known_tag(tag, solution.language)) {
    solution.language = guess_language(solution.code);
  }
  return solution;
}

bool defines(std::string_view code, std::string_view name) {
  return find_definition(code, name) != std::string_view::npos;
}

std::string complete_program(const Solution& solution, const CodeTests& tests,
                             std::string_view prompt) {
  if (tests.kind != CodeTests::Kind::check || prompt.empty()) return solution.code;
  // "Solution().add" is an expression in the name Solution.
  size_t length = 0;
  while (length < tests.function.size() && word_char(tests.function[length])) ++length;
  if (defines(solution.code, std::string_view(tests.function).substr(0, length))) {
    const bool future = solution.code.find("from __future__") != std::string::npos;
    return future ? solution.code : tests.setup + solution.code;
  }
  const bool joined = !solution.fenced || prompt.ends_with('\n');
  return std::string(prompt) + (joined ? "" : "\n") + solution.code;
}

std::string code_before(std::string_view prompt, std::string_view function) {
  const size_t definition = find_definition(prompt, function);
  if (definition == std::string_view::npos) return "";
  std::string_view code = prompt.substr(0, definition);
  if (const size_t fence = code.rfind("```"); fence != std::string_view::npos) {
    code.remove_prefix(std::min(code.find('\n', fence), code.size() - 1) + 1);
  }
  const std::string_view text = trimmed(code);
  for (const char* start : {"import ", "from ", "def ", "class ", "@", "#", "\"\"\""}) {
    if (text.starts_with(start)) return std::string(code);
  }
  return "";
}

}  // namespace hone
