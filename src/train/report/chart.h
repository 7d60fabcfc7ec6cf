// Line charts as inline SVG.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace hone {

struct Series {
  std::string name;                               // the run; shown if a chart has several
  std::vector<std::pair<double, double>> points;  // (step, value), steps ascending
};

struct Chart {
  std::string title;
  std::string metric;  // its name in metrics.jsonl
  bool percent = false;
  bool dots = false;  // few measured points (evaluations) rather than one a step
  std::vector<Series> series;
};

// A <figure>. Series i has the colour --s(i + 1). Long series are drawn thin with their running
// mean over them. Empty string if there is nothing to draw.
std::string chart_html(const Chart& chart);

// About `count` round numbers that cover [low, high].
std::vector<double> axis_ticks(double low, double high, int count);

}  // namespace hone
