// "Watch it learn": what the model wrote, from its first steps to its last.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "train/report/html.h"
#include "train/report/page.h"

namespace hone {
namespace {

// A completion and where it comes from.
struct Pick {
  const SampledGroup* group = nullptr;
  const SampledText* text = nullptr;
};

std::string pills(const SampledText& c) {
  std::string out;
  if (c.reward) {
    const char* kind = *c.reward > 0.5 ? " good" : *c.reward <= 0 ? " bad" : "";
    out += cat("<span class=\"pill", kind, "\">reward ", format_number(*c.reward), "</span>");
  } else {
    out += "<span class=\"pill\">no reward</span>";
  }
  for (const auto& [name, value] : c.scores) {
    out += cat("<span class=\"pill\">", html_visible(name, 60), " ", html_visible(value, 60),
               "</span>");
  }
  if (c.tokens > 0) out += cat("<span>", format_count(c.tokens), " tokens</span>");
  if (c.finish_reason == "length") out += "<span class=\"pill bad\">cut off</span>";
  return out;
}

std::string sample_card(const std::string& label, const SampledText& c, const std::string& prompt) {
  return cat("<article class=\"sample\"><header><b>", html_escape(label), "</b>", pills(c),
             "</header>",
             c.text.empty() ? "<p class=\"empty\">nothing</p>" : html_completion(c.text, prompt),
             "</article>");
}

std::string prompt_box(const std::string& prompt, const std::string& answer) {
  std::string out = cat("<div class=\"prompt\"><span>the problem</span><div class=\"text\">",
                        html_visible(prompt, 3000), "</div>");
  if (!answer.empty()) {
    out += cat("<span style=\"margin:8px 0 0\">reference answer</span><div class=\"text\">",
               html_visible(answer, 600), "</div>");
  }
  return out + "</div>";
}

std::string step_label(const SampledGroup& g, const RunData& run) {
  return run.stages().size() > 1 ? cat(g.stage, ", step ", g.step) : cat("step ", g.step);
}

// The completion of the group whose reward is nearest its group's median: neither luck nor bad
// luck.
const SampledText& typical(const SampledGroup& g) {
  std::vector<const SampledText*> order;
  for (const SampledText& c : g.completions) order.push_back(&c);
  std::stable_sort(order.begin(), order.end(), [](const SampledText* a, const SampledText* b) {
    return a->reward.value_or(0) < b->reward.value_or(0);
  });
  return *order[order.size() / 2];
}

std::string examples_html(const RunData& run) {
  std::string out =
      cat("<h3>Before and after</h3><p class=\"note\">The same held-out problems, answered by the "
          "model "
          "that went in and by the model that came out.</p>");
  for (size_t i = 0; i < std::min<size_t>(run.examples.size(), 6); ++i) {
    const Example& e = run.examples[i];
    out += prompt_box(e.prompt, "");
    out += cat("<div class=\"pair\">", sample_card("before", e.base, e.prompt),
               sample_card("after", e.trained, e.prompt), "</div>");
  }
  return out;
}

// The problem that was met furthest apart in training, if any was met twice.
std::pair<const SampledGroup*, const SampledGroup*> met_twice(const RunData& run) {
  std::map<std::string, const SampledGroup*> first;
  std::pair<const SampledGroup*, const SampledGroup*> best{nullptr, nullptr};
  size_t best_distance = 0;
  for (size_t i = 0; i < run.groups.size(); ++i) {
    const SampledGroup& g = run.groups[i];
    const std::string key = g.source + "\n" + (g.prompt.empty() ? g.id : g.prompt);
    const auto [it, is_new] = first.emplace(key, &g);
    if (is_new || it->second->step == g.step || it->second->stage != g.stage) continue;
    const auto distance = static_cast<size_t>(&g - it->second);
    if (distance > best_distance) {
      best_distance = distance;
      best = {it->second, &g};
    }
  }
  return best;
}

std::string through_training_html(const RunData& run) {
  std::string out;
  const auto [early, late] = met_twice(run);
  if (early) {
    out +=
        cat("<h3>The same problem, early and late</h3><p class=\"note\">Each time the answer "
            "of the group's median reward.</p>",
            prompt_box(early->prompt, early->answer), "<div class=\"pair\">",
            sample_card(step_label(*early, run), typical(*early), early->prompt),
            sample_card(step_label(*late, run), typical(*late), late->prompt), "</div>");
  }
  out +=
      "<h3>Through training</h3><p class=\"note\">The first answer in the file of each step: not "
      "chosen.</p><div class=\"pair\">";
  std::string last_key;
  std::vector<const SampledGroup*> firsts;
  for (const SampledGroup& g : run.groups) {
    const std::string key = cat(g.stage, "/", g.step);
    if (key != last_key) firsts.push_back(&g);
    last_key = key;
  }
  const size_t count = std::min<size_t>(6, firsts.size());
  for (size_t i = 0; i < count; ++i) {
    const SampledGroup& g = *firsts[count == 1 ? 0 : i * (firsts.size() - 1) / (count - 1)];
    const std::string card = sample_card(step_label(g, run), g.completions.front(), g.prompt);
    const std::string asked = cat("<details><summary>the problem</summary><div class=\"text\">",
                                  html_visible(g.prompt, 2000), "</div></details>");
    out += card.substr(0, card.size() - std::string("</article>").size()) + asked + "</article>";
  }
  return out + "</div>";
}

std::string extremes_html(const RunData& run) {
  Pick best, worst, longest;
  const auto reward = [](const Pick& p) { return p.text->reward.value_or(0); };
  for (const SampledGroup& g : run.groups) {
    const bool last = g.step == run.groups.back().step && g.stage == run.groups.back().stage;
    for (const SampledText& c : g.completions) {
      const Pick p{&g, &c};
      const auto size = [](const Pick& q) {
        return std::pair(q.text->tokens, q.text->text.size());
      };
      if (!longest.text || size(p) > size(longest)) longest = p;
      if (!last || !c.reward) continue;
      if (!best.text || std::pair(reward(p), size(p)) > std::pair(reward(best), size(best)))
        best = p;
      if (!worst.text || std::pair(-reward(p), size(p)) > std::pair(-reward(worst), size(worst))) {
        worst = p;
      }
    }
  }
  std::string out =
      "<h3>Best, worst, longest</h3><p class=\"note\">Best and worst reward of the last step (of "
      "equals, the longest), and the longest answer of the steps read.</p>";
  const auto add = [&](const char* what, const Pick& p) {
    if (!p.text) return;
    out += cat("<details class=\"card\" style=\"margin-bottom:10px\"><summary>", what, " \xC2\xB7 ",
               html_escape(step_label(*p.group, run)), " ", pills(*p.text), "</summary>",
               prompt_box(p.group->prompt, p.group->answer),
               html_completion(p.text->text, p.group->prompt), "</details>");
  };
  add("best", best);
  add("worst", worst);
  add("longest", longest);
  return out;
}

}  // namespace

std::string samples_html(const RunData& run, bool several) {
  if (run.examples.empty() && run.groups.empty()) return "";
  std::string out = "<h2>Watch it learn";
  if (several) out += ": " + html_escape(run.name);
  out += "</h2>";
  if (!run.examples.empty()) out += examples_html(run);
  if (!run.groups.empty()) {
    out += through_training_html(run);
    out += extremes_html(run);
    out += cat("<p class=\"fine\">Read from ", run.rollout_steps_read, " of ", run.rollout_steps,
               " recorded steps; all are in stages/*/rollouts.</p>");
  }
  return out;
}

}  // namespace hone
