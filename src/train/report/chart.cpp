#include "train/report/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "train/report/html.h"

namespace hone {
namespace {

using Points = std::vector<std::pair<double, double>>;

// The drawing's own units; the page scales it.
constexpr double kWidth = 360, kHeight = 190;
constexpr double kLeft = 44, kRight = 52, kTop = 10, kBottom = 24;

std::string fixed(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.1f", x);
  return buffer;
}

std::string value_text(const Chart& chart, double v) {
  return chart.percent ? format_percent(v) : format_number(v);
}

// An axis label: as short as it is exact.
std::string tick_text(const Chart& chart, double v) {
  char buffer[32];
  if (chart.percent) {
    std::snprintf(buffer, sizeof buffer, "%.4g%%", 100 * v);
  } else if (std::fabs(v) >= 1e4) {
    std::snprintf(buffer, sizeof buffer, "%.4gk", v / 1000);
  } else {
    std::snprintf(buffer, sizeof buffer, "%.4g", v);
  }
  return buffer;
}

// Centred mean over `window` points; at the ends over those of them that exist.
Points running_mean(const Points& points, size_t window) {
  Points out;
  const size_t half = window / 2;
  for (size_t i = 0; i < points.size(); ++i) {
    const size_t from = i - std::min(half, i), to = std::min(i + half, points.size() - 1);
    double sum = 0;
    for (size_t j = from; j <= to; ++j) sum += points[j].second;
    out.emplace_back(points[i].first, sum / static_cast<double>(to - from + 1));
  }
  return out;
}

struct Frame {
  double x0, x1, y0, y1;
  double x(double v) const { return kLeft + (v - x0) / (x1 - x0) * (kWidth - kLeft - kRight); }
  double y(double v) const { return kTop + (y1 - v) / (y1 - y0) * (kHeight - kTop - kBottom); }
};

std::string path_of(const Points& points, const Frame& f) {
  std::string d;
  // More points than pixels change nothing that can be seen.
  const size_t stride = std::max<size_t>(1, points.size() / 1200);
  for (size_t i = 0; i < points.size(); i += stride) {
    d += (d.empty() ? "M" : "L") + fixed(f.x(points[i].first)) + " " + fixed(f.y(points[i].second));
  }
  return d;
}

// For the pointer: "x,y x,y ..." in data and drawing units.
std::string data_attributes(const Series& s, const Frame& f, const Chart& chart) {
  std::string px, label;
  const size_t stride = std::max<size_t>(1, s.points.size() / 400);
  for (size_t i = 0; i < s.points.size(); i += stride) {
    const auto& [x, y] = s.points[i];
    px += fixed(f.x(x)) + "," + fixed(f.y(y)) + " ";
    label += format_number(x) + "|" + value_text(chart, y) + ";";
  }
  return " data-p=\"" + px + "\" data-l=\"" + label + "\" data-n=\"" + html_escape(s.name) + "\"";
}

}  // namespace

std::vector<double> axis_ticks(double low, double high, int count) {
  const double raw = (high - low) / std::max(1, count);
  const double power = std::pow(10, std::floor(std::log10(raw)));
  const double unit = raw / power;
  const double step = power * (unit <= 1 ? 1 : unit <= 2 ? 2 : unit <= 5 ? 5 : 10);
  std::vector<double> ticks;
  // One step early and late, so that the data lie inside.
  const auto first = static_cast<int64_t>(std::floor(low / step + 1e-9));
  const auto last = static_cast<int64_t>(std::ceil(high / step - 1e-9));
  for (int64_t i = first; i <= last; ++i) ticks.push_back(static_cast<double>(i) * step);
  return ticks;
}

std::string chart_html(const Chart& chart) {
  double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
  for (const Series& s : chart.series) {
    for (const auto& [x, y] : s.points) {
      x0 = std::min(x0, x), x1 = std::max(x1, x);
      y0 = std::min(y0, y), y1 = std::max(y1, y);
    }
  }
  if (!(x1 >= x0) || !std::isfinite(y0) || !std::isfinite(y1)) return "";
  if (x1 == x0) x1 = x0 + 1;
  if (chart.percent) {
    y0 = std::min(y0, 0.0);
    if (y1 > 0.4) y1 = std::max(y1, 1.0);
  } else if (y0 > 0 && y0 < y1 * 0.6) {
    y0 = 0;  // a line that starts near zero starts from zero
  }
  if (y1 == y0) {
    y1 = y0 + (y0 == 0 ? 1 : std::fabs(y0) * 0.5);
  }
  const std::vector<double> ticks = axis_ticks(y0, y1, 4);
  const Frame f{x0, x1, ticks.front(), ticks.back()};

  std::string svg;
  for (double t : ticks) {
    const std::string y = fixed(f.y(t));
    svg += "<line class=\"grid\" x1=\"" + fixed(kLeft) + "\" x2=\"" + fixed(kWidth - kRight) +
           "\" y1=\"" + y + "\" y2=\"" + y + "\"/><text class=\"tick\" text-anchor=\"end\" x=\"" +
           fixed(kLeft - 7) + "\" y=\"" + fixed(f.y(t) + 3.5) + "\">" + tick_text(chart, t) +
           "</text>";
  }
  const double middle = std::round((x0 + x1) / 2);
  for (double x : {x0, middle, x1}) {
    if (x == middle && x1 - x0 < 2) continue;
    svg += "<text class=\"tick\" text-anchor=\"middle\" x=\"" + fixed(f.x(x)) + "\" y=\"" +
           fixed(kHeight - 6) + "\">" + (x == x0 ? "step " : "") + format_number(x) + "</text>";
  }
  std::vector<double> label_places;
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    if (s.points.empty()) continue;
    const std::string colour = "style=\"--c:var(--s" + std::to_string(i % 8 + 1) + ")\"";
    svg += "<g class=\"series\" " + colour + data_attributes(s, f, chart) + ">";
    const bool noisy = !chart.dots && s.points.size() >= 40;
    const Points line =
        noisy ? running_mean(s.points, std::max<size_t>(5, s.points.size() / 20)) : s.points;
    if (noisy) svg += "<path class=\"raw\" d=\"" + path_of(s.points, f) + "\"/>";
    svg += "<path class=\"line\" d=\"" + path_of(line, f) + "\"/>";
    if (chart.dots && s.points.size() <= 60) {
      for (const auto& [x, y] : s.points) {
        svg += "<circle class=\"dot\" r=\"3\" cx=\"" + fixed(f.x(x)) + "\" cy=\"" + fixed(f.y(y)) +
               "\"/>";
      }
    }
    // The last value stands at the end of its line; where two would collide the later one yields.
    const auto& [x, y] = line.back();
    const double place = f.y(y);
    const bool free = std::none_of(label_places.begin(), label_places.end(),
                                   [&](double p) { return std::fabs(p - place) < 11; });
    svg += "<circle class=\"end\" r=\"3.5\" cx=\"" + fixed(f.x(x)) + "\" cy=\"" + fixed(place) +
           "\"/>";
    if (free) {
      label_places.push_back(place);
      svg += "<text class=\"last\" x=\"" + fixed(f.x(x) + 8) + "\" y=\"" + fixed(place + 4) +
             "\">" + value_text(chart, y) + "</text>";
    }
    svg += "</g>";
  }
  svg += "<line class=\"cross\" y1=\"" + fixed(kTop) + "\" y2=\"" + fixed(kHeight - kBottom) +
         "\" x1=\"0\" x2=\"0\" visibility=\"hidden\"/>";
  std::string out = "<figure class=\"chart\"><figcaption><b>" + html_escape(chart.title) +
                    "</b><code>" + html_escape(chart.metric) + "</code></figcaption>";
  out += "<svg viewBox=\"0 0 " + fixed(kWidth) + " " + fixed(kHeight) +
         "\" role=\"img\" aria-label=\"" + html_escape(chart.title) + "\">" + svg +
         "</svg><div class=\"tip\" hidden></div>";
  return out + "</figure>";
}

}  // namespace hone
