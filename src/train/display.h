// What a person sees of a run, on stderr: a header, a progress bar, one line a step, now and then
// a sample, the end. Plain lines when stderr is not a terminal; nothing but errors when quiet.
// Text of a model is shown, never executed: control characters appear as visible pictures.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/timer.h"

namespace hone {

struct DisplayOptions {
  bool quiet = false;
  bool terminal = false;  // colours, a bar that is redrawn
};

// Control characters of `text` made visible (ESC becomes U+241B, ...), newlines and tabs kept.
std::string visible_text(const std::string& text);

class Display {
 public:
  explicit Display(const DisplayOptions& options);
  ~Display();

  // A block of lines, e.g. what will happen and how long.
  void note(const std::string& text);
  // One line of figures that stays; `fields` are name and formatted value, in order.
  void step(int64_t step, int64_t steps,
            const std::vector<std::pair<std::string, std::string>>& fields);
  // A bar with a percentage and the time left, for anything over two seconds; redrawn in place on
  // a terminal, a plain line every 15 seconds elsewhere. `done == total` removes it.
  void progress(const std::string& what, int64_t done, int64_t total);
  // A completion, its thinking dimmed.
  void sample(const std::string& heading, const std::string& prompt, const std::string& completion);

 private:
  void clear_bar();
  DisplayOptions options_;
  bool bar_shown_ = false;
  std::string bar_what_;
  Timer bar_timer_, bar_redraw_;
};

}  // namespace hone
