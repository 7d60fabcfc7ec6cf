#include "train/display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string_view>

#include "base/error.h"
#include "text/utf8.h"
#include "train/format.h"

namespace hone {
namespace {

constexpr double kShowAfter = 2;       // seconds that a task must last to get a bar
constexpr double kRedrawEvery = 0.1;   // seconds, on a terminal
constexpr double kPlainEvery = 15;     // seconds, elsewhere
constexpr size_t kSampleBytes = 4000;  // of a completion that is shown
constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kBold = "\x1b[1m";
constexpr const char* kPlain = "\x1b[0m";

// REQUIRES: s is one whole UTF-8 sequence.
uint32_t code_point(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  if (s.size() == 1) return byte(0);
  uint32_t c = byte(0) & (0xFF >> (s.size() + 1));
  for (size_t i = 1; i < s.size(); ++i) c = (c << 6) | (byte(i) & 0x3F);
  return c;
}

// Characters without a shape of their own that change how others are shown: directions, line
// separators, joiners, tags.
bool unseen(uint32_t c) {
  return c == 0x061C || (c >= 0x200B && c <= 0x200F) || (c >= 0x2028 && c <= 0x202E) ||
         (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF || (c >= 0xE0000 && c <= 0xE0FFF);
}

std::string picture(char32_t c) {  // of a C0 control: U+2400 + c, three bytes
  return {'\xE2', static_cast<char>(0x90), static_cast<char>(0x80 + c)};
}

void put(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string indented(std::string_view text) {
  std::string out = "  ";
  for (const char c : text) {
    out += c;
    if (c == '\n') out += "  ";
  }
  return out;
}

// The part in which the model thinks, tags included: [begin, end).
std::pair<size_t, size_t> thinking(const std::string& prompt, const std::string& text) {
  const size_t close = text.find("</think>");
  const size_t end = close == std::string::npos ? text.size() : close + 8;
  const size_t open = text.find("<think>");
  if (open != std::string::npos && open < end) return {open, end};
  const size_t last = prompt.find_last_not_of(" \n");
  const bool prefilled = last != std::string::npos && last >= 6 &&
                         std::string_view(prompt).substr(last - 6, 7) == "<think>";
  return prefilled ? std::pair{size_t{0}, end} : std::pair{size_t{0}, size_t{0}};
}

}  // namespace

std::string visible_text(const std::string& text) {
  std::string out;
  out.reserve(text.size());
  for (std::string_view rest = text; !rest.empty();) {
    const Utf8Step step = utf8_step(rest);
    const std::string_view bytes = rest.substr(0, step.length);
    rest.remove_prefix(step.length);
    if (step.kind != Utf8Step::whole) {
      out += kReplacement;
      continue;
    }
    const uint32_t c = code_point(bytes);
    if (c == '\n' || c == '\t' || (c >= 0x20 && c < 0x7F)) {
      out += bytes;
    } else if (c < 0x20) {
      out += picture(c);
    } else if (c == 0x7F) {
      out += picture(0x21);
    } else if (c < 0xA0) {
      out += kReplacement;
    } else if (unseen(c)) {
      char name[16];
      std::snprintf(name, sizeof name, "<U+%04X>", c);
      out += name;
    } else {
      out += bytes;
    }
  }
  return out;
}

Display::Display(const DisplayOptions& options) : options_(options) {}
Display::~Display() { clear_bar(); }

void Display::note(const std::string& text) {
  if (options_.quiet) return;
  clear_bar();
  put(text + "\n");
}

void Display::step(int64_t step, int64_t steps,
                   const std::vector<std::pair<std::string, std::string>>& fields) {
  if (options_.quiet) return;
  clear_bar();
  const std::string total = std::to_string(steps);
  std::string number = std::to_string(step);
  number.insert(0, total.size() - std::min(total.size(), number.size()), ' ');
  std::string line = cat("step ", number, "/", total);
  for (const auto& [name, value] : fields) {
    line +=
        options_.terminal ? cat("  ", kDim, name, kPlain, " ", value) : cat("  ", name, " ", value);
  }
  put(line + "\n");
}

void Display::progress(const std::string& what, int64_t done, int64_t total) {
  if (options_.quiet || total <= 0) return;
  if (what != bar_what_) {
    clear_bar();
    bar_what_ = what;
    bar_timer_.restart();
    bar_redraw_.restart();
  }
  if (done >= total) {
    clear_bar();
    bar_what_.clear();  // the next task of this name starts its own clock
    return;
  }
  const double seconds = bar_timer_.seconds();
  const double whole =
      done > 0 ? seconds * static_cast<double>(total) / static_cast<double>(done) : 0;
  if (seconds < kShowAfter && (seconds < kRedrawEvery * 3 || whole < kShowAfter * 2)) return;
  if (bar_redraw_.seconds() < (options_.terminal ? kRedrawEvery : kPlainEvery)) return;
  bar_redraw_.restart();
  const std::string left = done > 0 ? duration_text(whole - seconds) + " left" : "";
  const std::string percent = cat(100 * done / total, "%");
  if (!options_.terminal) {
    put(cat(what, ": ", percent, left.empty() ? "" : ", ", left, "\n"));
    return;
  }
  const size_t fixed = what.size() + percent.size() + left.size() + 8;
  const size_t width = std::min<size_t>(40, std::max(fixed + 10, terminal_columns()) - fixed);
  const size_t full = width * static_cast<size_t>(done) / static_cast<size_t>(total);
  put(cat("\r\x1b[K", what, " [", std::string(full, '='), std::string(width - full, ' '), "] ",
          percent, "  ", left));
  bar_shown_ = true;
}

void Display::clear_bar() {
  if (!bar_shown_) return;
  put("\r\x1b[K");
  bar_shown_ = false;
}

void Display::sample(const std::string& heading, const std::string& prompt,
                     const std::string& completion) {
  if (options_.quiet) return;
  clear_bar();
  const auto [begin, end] = thinking(prompt, completion);
  const std::string_view all = completion;
  std::string text = visible_text(std::string(all.substr(0, begin)));
  const std::string thought = visible_text(std::string(all.substr(begin, end - begin)));
  const bool long_thought = thought.size() > kSampleBytes;
  const std::string shown =
      long_thought ? visible_text(thought.substr(0, kSampleBytes)) + " ..." : thought;
  text += options_.terminal && !shown.empty() ? kDim + shown + kPlain : shown;
  std::string answer = visible_text(std::string(all.substr(end)));
  if (answer.size() > kSampleBytes) answer = visible_text(answer.substr(0, kSampleBytes)) + " ...";
  text += answer;
  const std::string head = options_.terminal ? kBold + heading + kPlain : heading;
  put(cat(head, "\n", indented(visible_text(prompt) + text), "\n"));
}

}  // namespace hone
