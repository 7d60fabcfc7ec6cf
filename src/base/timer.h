// Wall-clock timing. Figures go to timing.jsonl and the screen, never to metrics.jsonl.
#pragma once

#include <chrono>

namespace hone {

class Timer {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  void restart() { start_ = std::chrono::steady_clock::now(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace hone
