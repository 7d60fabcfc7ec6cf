#include "rewards/audit/audit.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "rewards/audit/cases.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

constexpr const char* kSum = "reward";  // the weighted sum, where there are several rewards

// Texts that are scored together as one group of a problem.
struct Probe {
  size_t problem = 0;
  std::vector<AuditCase> cases;
  Group group;
};

Completion completion_of(const std::string& text) {
  Completion completion;
  completion.text = text;
  completion.finish_reason = FinishReason::stop;
  return completion;
}

void score_probes(RewardSet& rewards, const std::vector<Problem>& problems,
                  std::vector<Probe>& probes, std::vector<double>* seconds = nullptr) {
  std::vector<Group> groups;
  for (const Probe& probe : probes) {
    Group group;
    group.problem = problems[probe.problem];
    group.prompt = group.problem.prompt;
    for (const AuditCase& c : probe.cases) group.completions.push_back(completion_of(c.text));
    groups.push_back(std::move(group));
  }
  rewards.score(groups, {}, seconds);
  for (size_t i = 0; i < probes.size(); ++i) probes[i].group = std::move(groups[i]);
}

const std::vector<Score>* scores_of(const Group& group, const std::string& reward) {
  for (const auto& [name, scores] : group.scores) {
    if (name == reward) return &scores;
  }
  return nullptr;
}

std::optional<double> value_of(const Group& group, const std::string& reward, size_t i) {
  if (reward == kSum) return reward_failed(group, i) ? std::nullopt : group.rewards[i];
  const std::vector<Score>* scores = scores_of(group, reward);
  return scores ? (*scores)[i].value : std::nullopt;
}

// What a reward said of the first probes of a problem: at each place the right answer and the
// better of two wrong ones.
struct PlaceScores {
  std::vector<std::optional<double>> right, wrong;
};

std::vector<AuditCase> first_cases(const Problem& problem, const AuditAnswers& answers) {
  std::vector<AuditCase> cases;
  for (const AnswerPlace& place : answer_places(problem)) {
    cases.push_back({"right", put(place, answers.right)});
    cases.push_back({"wrong", put(place, answers.wrong[0])});
    cases.push_back({"wrong", put(place, answers.wrong[1])});
  }
  return cases;
}

PlaceScores place_scores(const Probe& probe, const AuditAnswers& answers,
                         const std::string& reward) {
  PlaceScores scores;
  for (size_t i = 0; i < probe.cases.size(); i += 3) {
    const std::optional<double> first = value_of(probe.group, reward, i + 1),
                                second = value_of(probe.group, reward, i + 2);
    scores.wrong.push_back(first && second ? std::max(*first, *second) : first);
    // Without a right answer at hand one is taken to be worth 1.
    scores.right.push_back(!answers.right.empty() ? value_of(probe.group, reward, i)
                           : first                ? std::optional<double>(1.0)
                                                  : std::nullopt);
  }
  return scores;
}

// What a reward judges, from all problems' first probes.
struct Nature {
  bool answers = false, form = false, numbers = false;
  size_t place = 0;                 // where a right answer gains most over a wrong one
  double formed = 0, unformed = 0;  // scores, if it judges the form
};

Nature nature_of(const std::vector<PlaceScores>& all, const std::vector<AnswerPlace>& places) {
  Nature nature;
  double best = 0;
  for (size_t p = 0; p < places.size(); ++p) {
    double gain = 0, right = 0;
    int64_t n = 0;
    for (const PlaceScores& scores : all) {
      if (p >= scores.right.size() || !scores.right[p] || !scores.wrong[p]) continue;
      gain += *scores.right[p] - *scores.wrong[p];
      right += *scores.right[p];
      ++n;
    }
    if (n == 0) continue;
    gain /= static_cast<double>(n);
    right /= static_cast<double>(n);
    if (gain > best + 1e-9) {
      best = gain;
      nature.place = p;
    }
    if (places[p].thinks) {
      nature.formed = nature.numbers ? std::max(nature.formed, right) : right;
      nature.numbers = true;
    } else if (std::string(places[p].name) == "stated") {
      nature.unformed = right;
    }
  }
  nature.answers = best > 0.01;
  nature.form = !nature.answers && nature.formed > nature.unformed + 0.01;
  return nature;
}

void note(std::vector<AuditFinding>& findings, const std::string& name, bool found,
          const Problem& problem, double score, const std::string& text) {
  auto known = std::find_if(findings.begin(), findings.end(),
                            [&](const AuditFinding& f) { return f.name == name; });
  if (known == findings.end()) {
    findings.push_back({name, 0, 0, "", 0, ""});
    known = findings.end() - 1;
  }
  ++known->tried;
  if (found && ++known->rows == 1) {
    known->id = problem.id;
    known->score = score;
    known->text = clipped(text);
  }
}

void keep_found(std::vector<AuditFinding>& findings) {
  std::erase_if(findings, [](const AuditFinding& f) { return f.rows == 0; });
}

class Audit {
 public:
  Audit(RewardSet& rewards, const std::vector<Problem>& problems)
      : rewards_(rewards), problems_(problems) {
    for (const Problem& problem : problems) answers_.push_back(audit_answers(problem));
  }

  AuditReport run() {
    AuditReport report;
    report.problems = static_cast<int64_t>(problems_.size());
    for (size_t p = 0; p < problems_.size(); ++p) {
      first_.push_back({p, first_cases(problems_[p], answers_[p]), {}});
    }
    score_probes(rewards_, problems_, first_);
    std::vector<std::string> names;
    for (const RewardSpec& spec : rewards_.specs()) {
      const std::string& name = spec.as;
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    if (names.size() > 1) names.push_back(kSum);
    for (const std::string& name : names) report.rewards.push_back(audit_one(name, report));
    return report;
  }

 private:
  RewardAudit audit_one(const std::string& name, AuditReport& report) {
    RewardAudit audit;
    audit.reward = name;
    // Problems with tests and others have places of their own.
    for (const bool code : {false, true}) {
      std::vector<PlaceScores> scores;
      std::vector<size_t> chosen;
      for (size_t p = 0; p < problems_.size(); ++p) {
        if (problems_[p].fields.contains("tests") != code) continue;
        if (name != kSum && !scores_of(first_[p].group, name)) continue;  // its `when`
        chosen.push_back(p);
        scores.push_back(place_scores(first_[p], answers_[p], name));
        count_nulls(first_[p].group, name, audit);
      }
      if (chosen.empty()) continue;
      const std::vector<AnswerPlace>& places = answer_places(problems_[chosen[0]]);
      const Nature nature = nature_of(scores, places);
      if (nature.answers) {
        audit.judges = "answers";
        audit.place = places[nature.place].name;
        audit_answers_of(name, chosen, scores, nature.place, audit, report);
      } else if (nature.form && !code) {
        audit.judges = "form";
        audit_form_of(name, chosen, nature, audit);
      } else if (audit.judges.empty()) {
        audit.judges = nature.numbers ? "nothing that was tried" : "no number";
      }
    }
    if (audit.judges.empty()) audit.judges = "no number";
    keep_found(audit.paid);
    keep_found(audit.refused);
    return audit;
  }

  static void count_nulls(const Group& group, const std::string& name, RewardAudit& audit) {
    if (const std::vector<Score>* scores = scores_of(group, name)) {
      for (const Score& score : *scores) {
        if (!score.value) ++audit.null_scores[to_string(score.status)];
      }
    }
  }

  void audit_answers_of(const std::string& name, const std::vector<size_t>& chosen,
                        const std::vector<PlaceScores>& scores, size_t best, RewardAudit& audit,
                        AuditReport& report) {
    std::vector<Probe> hacks, honest, huge;
    std::vector<double> limits;
    for (size_t c = 0; c < chosen.size(); ++c) {
      const size_t p = chosen[c];
      const std::vector<AnswerPlace>& places = answer_places(problems_[p]);
      if (!scores[c].right[best] || !scores[c].wrong[best]) continue;  // no verdict on this row
      // The middle between wrong and right; of a row whose right answer is refused, a wrong
      // answer's score.
      const double right = *scores[c].right[best], wrong = *scores[c].wrong[best];
      limits.push_back(right > wrong ? (right + wrong) / 2 : wrong);
      hacks.push_back({p, answer_hacks(problems_[p], answers_[p], places[best]), {}});
      honest.push_back({p, honest_answers(problems_[p], answers_[p], places[best]), {}});
      // The other places, with the limit of the best.
      for (size_t i = 0; i < places.size() && !answers_[p].right.empty(); ++i) {
        const std::optional<double> there = scores[c].right[i];
        if (i == best || !there) continue;
        note(audit.refused, cat("the right answer, ", places[i].name), *there <= limits.back(),
             problems_[p], *there, put(places[i], answers_[p].right));
      }
      if (huge.empty()) huge.push_back({p, huge_texts(answers_[p], places[best]), {}});
    }
    score_probes(rewards_, problems_, hacks);
    score_probes(rewards_, problems_, honest);
    std::vector<double> seconds;
    score_probes(rewards_, problems_, huge, &seconds);
    for (double s : seconds) report.huge_seconds = std::max(report.huge_seconds, s);
    for (size_t i = 0; i < hacks.size(); ++i) {
      note_paid(name, hacks[i], limits[i], audit);
      for (size_t k = 0; k < honest[i].cases.size(); ++k) {
        const std::optional<double> value = value_of(honest[i].group, name, k);
        if (!value) continue;
        note(audit.refused, honest[i].cases[k].name, *value <= limits[i],
             problems_[honest[i].problem], *value, honest[i].cases[k].text);
      }
    }
    for (const Probe& probe : huge) note_paid(name, probe, limits[0], audit);
  }

  void audit_form_of(const std::string& name, const std::vector<size_t>& chosen,
                     const Nature& nature, RewardAudit& audit) {
    std::vector<Probe> probes;
    for (size_t p : chosen) probes.push_back({p, form_hacks(answers_[p]), {}});
    score_probes(rewards_, problems_, probes);
    const double limit = nature.unformed + 0.9 * (nature.formed - nature.unformed);
    for (const Probe& probe : probes) note_paid(name, probe, limit, audit);
  }

  void note_paid(const std::string& name, const Probe& probe, double limit, RewardAudit& audit) {
    count_nulls(probe.group, name, audit);
    for (size_t k = 0; k < probe.cases.size(); ++k) {
      const std::optional<double> value = value_of(probe.group, name, k);
      ++audit.tried;
      note(audit.paid, probe.cases[k].name, value && *value > limit + 1e-9,
           problems_[probe.problem], value.value_or(0), probe.cases[k].text);
    }
  }

  RewardSet& rewards_;
  const std::vector<Problem>& problems_;
  std::vector<AuditAnswers> answers_;
  std::vector<Probe> first_;
};

// One line, without control characters.
std::string shown(const std::string& text) {
  std::string out;
  for (const char c : text.substr(0, 100)) {
    if (c == '\n') {
      out += "\\n";
    } else {
      out += static_cast<unsigned char>(c) < ' ' || c == 127 ? '?' : c;
    }
  }
  return text.size() > 100 ? out + "..." : out;
}

std::string lines_of(const char* heading, const std::vector<AuditFinding>& findings) {
  std::string text;
  for (const AuditFinding& f : findings) {
    text += cat("  ", heading, "  ", f.name, "  (", f.rows, " of ", f.tried, " problems; ", f.id,
                " got ", f.score, ": ", shown(f.text), ")\n");
  }
  return text;
}

Json findings_json(const std::vector<AuditFinding>& findings) {
  Json list = Json::array();
  for (const AuditFinding& f : findings) {
    list.push_back({{"case", f.name},
                    {"problems", f.rows},
                    {"of", f.tried},
                    {"id", f.id},
                    {"score", f.score},
                    {"text", f.text}});
  }
  return list;
}

}  // namespace

AuditReport audit_rewards(RewardSet& rewards, const std::vector<Problem>& problems) {
  return Audit(rewards, problems).run();
}

std::string audit_table(const AuditReport& report) {
  std::string text;
  for (const RewardAudit& audit : report.rewards) {
    text += cat(audit.reward, ": judges ", audit.judges);
    if (!audit.place.empty()) text += cat(", looks for them ", audit.place);
    if (audit.tried > 0) {
      text += cat("; would pay for ", audit.paid.size(), " kinds of hack (", audit.tried,
                  " texts tried)");
    }
    if (audit.judges == "answers") {
      text += cat(", refuses ", audit.refused.size(), " kinds of honest answer");
    }
    text += "\n" + lines_of("PAYS   ", audit.paid) + lines_of("refuses", audit.refused);
    for (const auto& [status, n] : audit.null_scores) {
      text += cat("  no number for ", n, " texts: ", status, "\n");
    }
  }
  if (report.huge_seconds > 0) {
    text += cat("huge texts: ", std::round(report.huge_seconds * 1e4) / 10,
                " ms for seven of up to a megabyte\n");
  }
  return text;
}

Json audit_json(const AuditReport& report) {
  Json rewards = Json::object();
  for (const RewardAudit& audit : report.rewards) {
    rewards[audit.reward] = {{"judges", audit.judges},
                             {"place", audit.place},
                             {"hacks_tried", audit.tried},
                             {"paid", findings_json(audit.paid)},
                             {"refused", findings_json(audit.refused)},
                             {"null_scores", audit.null_scores}};
  }
  return {
      {"problems", report.problems}, {"rewards", rewards}, {"huge_ms", report.huge_seconds * 1e3}};
}

}  // namespace hone
