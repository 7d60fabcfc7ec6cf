#include "train/report/page.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "train/report/chart.h"
#include "train/report/html.h"

namespace hone {
namespace {

using Points = std::vector<std::pair<double, double>>;

Points points_of(const RunData& run, const std::string& stage, const std::string& name) {
  Points points;
  for (const MetricPoint& p : run.metrics) {
    if (p.stage != stage) continue;
    for (const auto& [metric, value] : p.values) {
      if (metric == name) points.emplace_back(static_cast<double>(p.step), value);
    }
  }
  return points;
}

// Names of the metrics of a stage in order of appearance, over all runs.
std::vector<std::string> names_of(const std::vector<RunData>& runs, const std::string& stage) {
  std::vector<std::string> names;
  for (const RunData& run : runs) {
    for (const MetricPoint& p : run.metrics) {
      if (p.stage != stage) continue;
      for (const auto& [name, value] : p.values) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
  }
  return names;
}

std::vector<std::string> stages_of(const std::vector<RunData>& runs) {
  std::vector<std::string> stages;
  for (const RunData& run : runs) {
    for (const std::string& stage : run.stages()) {
      if (std::find(stages.begin(), stages.end(), stage) == stages.end()) stages.push_back(stage);
    }
  }
  return stages;
}

bool is_eval(const std::string& name) { return name.starts_with("eval/"); }

// "multiply" of "eval/multiply/pass@1".
std::string task_of(const std::string& name) {
  const size_t last = name.rfind('/');
  return last <= 5 ? "" : name.substr(5, last - 5);
}

bool is_share(const std::string& name) {
  const std::string last = name.substr(name.rfind('/') + 1);
  if (name.ends_with("_se")) return false;
  return last.starts_with("pass@") || last.starts_with("maj@") || last == "format" ||
         last == "truncated" || name == "rewards/accuracy/mean" || name == "rewards/format/mean" ||
         name == "completions/clipped_ratio" || name.starts_with("frac_");
}

// The first and last value of a metric in the last stage that has it.
struct Change {
  std::string stage, metric;
  double before = 0, after = 0, best = 0;
  double first_step = 0, last_step = 0;
  size_t points = 0;
};

// Held-out pass@1 of every task; failing that, accuracy or reward while training.
std::vector<Change> changes_of(const RunData& run) {
  std::vector<Change> changes;
  const auto add = [&](const std::string& stage, const std::string& name) {
    const Points p = points_of(run, stage, name);
    if (p.empty()) return;
    Change c{stage,           name,           p.front().second, p.back().second, p.front().second,
             p.front().first, p.back().first, p.size()};
    for (const auto& [step, value] : p) c.best = std::max(c.best, value);
    changes.push_back(c);
  };
  const std::vector<std::string> stages = run.stages();
  for (auto stage = stages.rbegin(); stage != stages.rend() && changes.empty(); ++stage) {
    for (const std::string& name : names_of({run}, *stage)) {
      if (is_eval(name) && name.ends_with("/pass@1")) add(*stage, name);
    }
  }
  for (const char* fallback : {"rewards/accuracy/mean", "reward"}) {
    for (auto stage = stages.rbegin(); stage != stages.rend() && changes.empty(); ++stage) {
      add(*stage, fallback);
    }
  }
  return changes;
}

std::string metric_value(const std::string& name, double v) {
  return is_share(name) ? format_percent(v) : format_number(v);
}

std::string change_label(const Change& c) {
  if (is_eval(c.metric)) {
    return cat("pass@1 on held-out problems of ", html_escape(task_of(c.metric)));
  }
  return cat("<code>", html_escape(c.metric),
             "</code> on the training problems; no held-out evaluation was recorded");
}

double total_seconds(const RunData& run) {
  double seconds = 0;
  for (const MetricPoint& p : run.timing) {
    for (const auto& [name, value] : p.values) {
      if (name == "step_time") seconds += value;
    }
  }
  return seconds;
}

// The last value of a running total, or the sum over stages of each stage's last.
double last_of(const RunData& run, const std::string& name) {
  double sum = 0;
  for (const std::string& stage : run.stages()) {
    const Points p = points_of(run, stage, name);
    if (!p.empty()) sum += p.back().second;
  }
  return sum;
}

std::string tile(const std::string& value, const std::string& label) {
  return cat("<div class=\"card tile\"><b>", value, "</b><span>", label, "</span></div>");
}

std::string tiles(const RunData& run) {
  std::string out = "<div class=\"tiles\">";
  double steps = 0;
  for (const std::string& stage : run.stages()) {
    double last = 0;
    for (const MetricPoint& p : run.metrics) {
      if (p.stage == stage) last = std::max(last, static_cast<double>(p.step));
    }
    steps += last;
  }
  const size_t stages = run.stages().size();
  out += tile(format_number(steps),
              stages > 1 ? cat("steps in ", stages, " stages") : std::string("steps"));
  if (const double seconds = total_seconds(run); seconds > 0) {
    out += tile(format_seconds(seconds), "of training on this machine");
  }
  if (const double tokens = last_of(run, "num_tokens"); tokens > 0) {
    out += tile(format_count(static_cast<int64_t>(tokens)), "tokens");
  }
  for (const std::string& stage : run.stages()) {
    const Points length = points_of(run, stage, "completions/mean_length");
    if (length.empty()) continue;
    out += tile(cat(format_number(length.front().second), " \xE2\x86\x92 ",
                    format_number(length.back().second)),
                "mean tokens of an answer");
    break;
  }
  return out + "</div>";
}

std::string hero(const RunData& run) {
  const std::vector<Change> changes = changes_of(run);
  std::string out = "<div class=\"hero\"><div class=\"card\">";
  if (changes.empty()) {
    out += "<p class=\"empty\">No evaluation, accuracy or reward was recorded.</p>";
  }
  for (size_t i = 0; i < changes.size(); ++i) {
    const Change& c = changes[i];
    if (i == 0) {
      out += cat("<p class=\"note\" style=\"margin:0\">", change_label(c), "</p><p class=\"big\">");
      if (c.points > 1) {
        out += cat("<span class=\"from\">", metric_value(c.metric, c.before),
                   "</span><span class=\"arrow\">\xE2\x86\x92</span>");
      }
      out += cat("<span class=\"to\">", metric_value(c.metric, c.after), "</span></p>");
      if (c.points > 1) {
        out += cat("<p class=\"fine\">step ", format_number(c.first_step), " \xE2\x86\x92 step ",
                   format_number(c.last_step), "; best on the way ", metric_value(c.metric, c.best),
                   "</p>");
      }
    } else {
      out += cat("<p style=\"margin:10px 0 0\">", change_label(c), ": ",
                 metric_value(c.metric, c.before), " \xE2\x86\x92 <b>",
                 metric_value(c.metric, c.after), "</b></p>");
    }
  }
  return out + "</div>" + tiles(run) + "</div>";
}

}  // namespace

std::string headline_html(const std::vector<RunData>& runs) {
  if (runs.size() == 1) return hero(runs.front());
  std::string out =
      "<div class=\"card scroll\" "
      "style=\"margin-top:26px\"><table><tr><th>run</th><th>measured</th>"
      "<th class=\"n\">before</th><th class=\"n\">after</th><th class=\"n\">best</th>"
      "<th class=\"n\">time</th></tr>";
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::string key = cat("<td><i class=\"key\" style=\"--c:var(--s", i % 8 + 1, ")\"></i>",
                                html_escape(runs[i].name), "</td>");
    const double seconds = total_seconds(runs[i]);
    const std::string time = seconds > 0 ? format_seconds(seconds) : "";
    const std::vector<Change> changes = changes_of(runs[i]);
    if (changes.empty()) out += cat("<tr>", key, "<td colspan=\"5\">nothing recorded</td></tr>");
    for (const Change& c : changes) {
      out += cat("<tr>", key, "<td>", change_label(c), "</td><td class=\"n\">",
                 metric_value(c.metric, c.before), "</td><td class=\"n\"><b>",
                 metric_value(c.metric, c.after), "</b></td><td class=\"n\">",
                 metric_value(c.metric, c.best), "</td><td class=\"n\">", time, "</td></tr>");
    }
  }
  return out + "</table></div>";
}

std::string summary_html(const std::vector<RunData>& runs) {
  std::string out = "<h2>What was run</h2>";
  for (const RunData& run : runs) {
    if (runs.size() > 1) out += cat("<h3>", html_escape(run.name), "</h3>");
    if (run.summary.empty()) {
      out += "<p class=\"empty\">No readable recipe.yaml in the run directory.</p>";
      continue;
    }
    out += "<div class=\"card\"><dl>";
    for (const auto& [key, value] : run.summary) {
      out += cat("<dt>", html_visible(key, 200), "</dt><dd>", html_visible(value, 1500), "</dd>");
    }
    out += "</dl>";
    out += cat("<details style=\"margin-top:12px\"><summary>the whole recipe</summary><pre>",
               html_visible(run.recipe, 60000), "</pre></details></div>");
  }
  return out;
}

// What the figures mean, as the run said it while it went.
std::string findings_html(const std::vector<RunData>& runs) {
  std::string out;
  for (const RunData& run : runs) {
    if (run.findings.empty()) continue;
    if (runs.size() > 1) out += cat("<h3>", html_escape(run.name), "</h3>");
    out += "<div class=\"card\"><dl>";
    for (const auto& [stage, f] : run.findings) {
      out += cat("<dt>", html_visible(stage, 100), ", step ", f.step, "</dt><dd>",
                 html_visible(f.meaning, 600), "<br><b>To try:</b> ", html_visible(f.advice, 600),
                 "</dd>");
    }
    out += "</dl></div>";
  }
  return out.empty() ? "" : "<h2>What the figures say</h2>" + out;
}

std::string charts_html(const std::vector<RunData>& runs) {
  // (metric, title); "*" stands for anything.
  static const std::vector<std::pair<std::string, std::string>> wanted{
      {"eval/*/pass@1", "Held-out pass@1"},
      {"rewards/accuracy/mean", "Accuracy while training"},
      {"reward", "Reward"},
      {"rewards/format/mean", "Format"},
      {"completions/mean_length", "Mean length in tokens"},
      {"entropy", "Entropy in nats"},
      {"grad_norm", "Gradient norm"},
      {"kl", "KL to the reference"},
      {"completions/clipped_ratio", "Answers cut off"},
      {"frac_reward_zero_std", "Groups with nothing to learn from"},
      {"loss", "Loss"}};
  std::string out;
  const std::vector<std::string> stages = stages_of(runs);
  for (const std::string& stage : stages) {
    const std::vector<std::string> names = names_of(runs, stage);
    const bool rewarded = std::find(names.begin(), names.end(), "reward") != names.end();
    std::string of_stage;
    for (const auto& [pattern, title] : wanted) {
      if (pattern == "loss" && rewarded) continue;  // on policy it is 0 and says nothing
      for (const std::string& name : names) {
        const bool task = pattern == "eval/*/pass@1" && is_eval(name) && name.ends_with("/pass@1");
        if (!task && name != pattern) continue;
        Chart chart{task ? title + ": " + task_of(name) : title, name, is_share(name), task, {}};
        bool drawn = false;
        for (const RunData& run : runs) {
          chart.series.push_back({run.name, points_of(run, stage, name)});
          drawn |= chart.series.back().points.size() > 1;
        }
        if (drawn) of_stage += chart_html(chart);
      }
    }
    if (of_stage.empty()) continue;
    if (stages.size() > 1) out += cat("<h3>", html_escape(stage), "</h3>");
    out += cat("<div class=\"grid\">", of_stage, "</div>");
  }
  std::string legend;
  if (runs.size() > 1) {
    legend = "<ul class=\"legend\">";
    for (size_t i = 0; i < runs.size(); ++i) {
      legend += cat("<li style=\"--c:var(--s", i % 8 + 1, ")\"><i></i>", html_escape(runs[i].name),
                    "</li>");
    }
    legend += "</ul>";
  }
  if (out.empty()) out = "<p class=\"empty\">No metrics.jsonl with two steps or more.</p>";
  return "<h2>How it went</h2><p class=\"note\">Thin lines are single steps, bold lines their "
         "running mean. Point at a chart for its values.</p>" +
         legend + out;
}

std::string time_html(const std::vector<RunData>& runs) {
  std::string out =
      "<h2>Where the time went</h2><p class=\"note\">Seconds of this machine; they are "
      "no part of what the recipe determines.</p>";
  for (const RunData& run : runs) {
    if (runs.size() > 1) out += cat("<h3>", html_escape(run.name), "</h3>");
    std::vector<std::pair<std::string, double>> phases;
    std::map<std::string, std::pair<double, int>> means;
    double named = 0, peak = 0;
    for (const MetricPoint& p : run.timing) {
      for (const auto& [name, value] : p.values) {
        if (name.starts_with("time/")) {
          named += value;
          const auto known = std::find_if(phases.begin(), phases.end(), [&](const auto& phase) {
            return phase.first == name.substr(5);
          });
          if (known == phases.end()) {
            phases.emplace_back(name.substr(5), value);
          } else {
            known->second += value;
          }
        } else if (name == "tokens_per_second") {
          means[name].first += value;
          ++means[name].second;
        } else if (name == "memory_peak") {
          peak = std::max(peak, value);
        }
      }
    }
    const double total = std::max(total_seconds(run), named);
    if (total <= 0) {
      out += "<p class=\"empty\">No timing.jsonl, or no seconds in it.</p>";
      continue;
    }
    if (total - named > 0.005 * total) phases.emplace_back("everything else", total - named);
    std::string bar, rows;
    for (size_t i = 0; i < phases.size(); ++i) {
      const auto& [name, seconds] = phases[i];
      const std::string colour = cat("--c:var(--s", name == "everything else" ? 8 : i % 7 + 1, ")");
      bar += cat("<i style=\"", colour, ";flex:", seconds / total, "\" title=\"", html_escape(name),
                 "\"></i>");
      rows += cat("<tr><td><i class=\"key\" style=\"", colour, "\"></i>", html_escape(name),
                  "</td><td class=\"n\">", format_seconds(seconds), "</td><td class=\"n\">",
                  format_percent(seconds / total), "</td></tr>");
    }
    out += cat("<div class=\"card\"><div class=\"bar\">", bar, "</div><table>", rows,
               "<tr><td>together</td><td class=\"n\">", format_seconds(total),
               "</td><td class=\"n\"></td></tr></table>");
    std::string fine;
    if (const auto [sum, n] = means["tokens_per_second"]; n > 0) {
      fine += cat(format_count(static_cast<int64_t>(sum / n)), " tokens a second, mean of steps");
    }
    if (peak > 0) {
      fine += cat(fine.empty() ? "" : "; ", "memory at most ",
                  format_count(static_cast<int64_t>(peak / (1 << 20))), " MiB");
    }
    out += cat("<p class=\"fine\">", fine, "</p></div>");
  }
  return out;
}

std::string figures_html(const std::vector<RunData>& runs) {
  std::string out;
  for (const RunData& run : runs) {
    for (const std::string& stage : run.stages()) {
      out += cat("<details class=\"card\" style=\"margin-bottom:10px\"><summary>all figures of ",
                 html_escape(stage.empty() ? run.name : stage),
                 runs.size() > 1 ? ", " + html_escape(run.name) : "",
                 "</summary><div class=\"scroll\"><table><tr><th>metric</th><th class=\"n\">first"
                 "</th><th class=\"n\">last</th><th class=\"n\">least</th><th class=\"n\">most</th>"
                 "<th class=\"n\">rows</th></tr>");
      for (const std::string& name : names_of({run}, stage)) {
        const Points p = points_of(run, stage, name);
        const auto [low, high] = std::minmax_element(
            p.begin(), p.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
        out += cat("<tr><td><code>", html_escape(name), "</code></td>");
        for (double v : {p.front().second, p.back().second, low->second, high->second}) {
          out += cat("<td class=\"n\">", format_number(v), "</td>");
        }
        out += cat("<td class=\"n\">", p.size(), "</td></tr>");
      }
      out += "</table></div></details>";
    }
  }
  return out.empty() ? "" : "<h2>Figures</h2>" + out;
}

namespace {

void flatten(const Json& value, const std::string& path, std::string& rows) {
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) {
      flatten(child, path.empty() ? key : path + "." + key, rows);
    }
    return;
  }
  const std::string text = value.is_string() ? value.get<std::string>() : to_line(value);
  rows += cat("<tr><td>", html_visible(path, 300), "</td><td><code>", html_visible(text, 600),
              "</code></td></tr>");
}

}  // namespace

std::string provenance_html(const RunData& run, bool several) {
  std::string out = "<h2>Provenance";
  if (several) out += ": " + html_escape(run.name);
  out += "</h2>";
  if (run.provenance.is_object()) {
    std::string rows;
    flatten(run.provenance, "", rows);
    out += cat("<div class=\"card scroll\"><table style=\"overflow-wrap:anywhere\">", rows,
               "</table></div>");
  } else {
    out += "<p class=\"empty\">No provenance.json in the run directory.</p>";
  }
  if (!run.missing.empty()) {
    out += "<div class=\"missing\">Not found in this run directory: ";
    for (size_t i = 0; i < run.missing.size(); ++i) {
      out += (i ? "; " : "") + html_visible(run.missing[i], 400);
    }
    out += ".</div>";
  }
  return out;
}

}  // namespace hone
