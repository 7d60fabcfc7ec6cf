#include "data/readers/formats.h"

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "base/error.h"
#include "base/options.h"
#include "data/readers/messages.h"

namespace hone {
namespace {

using Keys = std::initializer_list<const char*>;

bool is_text(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string();
}

bool has(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && !found->is_null();
}

bool blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == text.npos; }

// The first of the columns that the row has; null if it has none.
const char* first_of(const Json& row, Keys keys) {
  for (const char* key : keys) {
    if (has(row, key)) return key;
  }
  return nullptr;
}

std::string names(Keys keys) {
  std::string out;
  for (const char* key : keys) out += (out.empty() ? "" : " or ") + std::string(key);
  return out;
}

// What the readers of single formats share: the row, and errors that name the place.
struct Reader {
  const Json& row;
  const std::string& format;
  const std::string& where;

  [[noreturn]] void fail(const std::string& expected) const {
    throw UserError(cat(where, ": expected ", expected,
                        format == "hone" ? "" : " (format " + format + ")", ", found ",
                        keys_of(row)));
  }
  const char* key(Keys keys) const {
    const char* found = first_of(row, keys);
    if (found == nullptr) fail(names(keys));
    return found;
  }
  const std::string& text(const char* key) const {
    const Json& value = row.at(key);
    if (!value.is_string()) {
      throw UserError(cat(where, ": expected ", key, " to be text, found ", value.type_name()));
    }
    return value.get_ref<const std::string&>();
  }
  const std::string& text(Keys keys) const { return text(key(keys)); }
};

// All columns but those whose content went elsewhere.
Json without(const Json& row, Keys dropped) {
  Json out = Json::object();
  for (const auto& [key, value] : row.items()) {
    const bool drop = std::any_of(dropped.begin(), dropped.end(),
                                  [&key = key](const char* name) { return key == name; });
    if (!drop) out[key] = value;
  }
  return out;
}

// `prompt` (and what else is given) before the other columns.
Json row_of(Json front, const Json& rest) {
  for (const auto& [key, value] : rest.items()) {
    if (!front.contains(key)) front[key] = value;
  }
  return front;
}

// A scalar under `id`, where the row has it by another name.
void take_id(Json& row, Keys keys) {
  const char* key = first_of(row, keys);
  if (has(row, "id") || key == nullptr) return;
  const Json value = row[key];
  if (value.is_string() || value.is_number_integer()) row["id"] = value;
}

Json read_own(const Reader& r) {
  const char* key = first_of(r.row, {"prompt", "question", "problem"});
  if (key == nullptr) {
    if (has(r.row, "messages") || is_text(r.row, "text")) return r.row;
    r.fail("prompt, messages or text");
  }
  if (r.row[key].is_array()) {  // TRL and verl have messages there
    check_messages(r.row[key], r.where);
    return row_of({{"prompt", last_user_text(r.row[key], r.where)}, {"messages", r.row[key]}},
                  without(r.row, {key, "messages"}));
  }
  return row_of({{"prompt", r.text(key)}}, r.row);
}

// GSM8K ends a worked solution by "#### 42".
Json read_gsm8k(const Reader& r) {
  const std::string& question = r.text({"question", "prompt"});
  const std::string& solution = r.text({"answer"});
  const size_t at = solution.rfind("####");
  if (at == std::string::npos) r.fail("answer to end in \"#### NUMBER\"");
  const size_t begin = solution.find_first_not_of(" \t\r\n", at + 4);
  if (begin == std::string::npos) r.fail("a number after ####");
  const size_t end = solution.find_last_not_of(" \t\r\n");
  return row_of({{"prompt", question},
                 {"answer", solution.substr(begin, end + 1 - begin)},
                 {"solution", solution}},
                r.row);
}

// MATH, AIME, AMC and their kin: the answer, or a solution with the answer in a box.
Json read_math(const Reader& r) {
  const std::string& problem = r.text({"problem", "question", "prompt", "Problem", "Question"});
  Json front = {{"prompt", problem}};
  const char* answer =
      first_of(r.row, {"answer", "Answer", "final_answer", "expected_answer", "gold"});
  if (answer != nullptr) {
    const Json& value = r.row[answer];
    if (!value.is_string() && !value.is_number()) r.fail("answer to be a text or a number");
    if (value.is_string() && blank(value.get_ref<const std::string&>())) {
      r.fail("an answer that is not empty");
    }
    front["answer"] = value;
  } else {
    const char* solution = first_of(r.row, {"solution", "Solution"});
    if (solution == nullptr) r.fail("answer or solution");
    const std::string& text = r.text(solution);
    if (text.find("\\boxed") == text.npos && text.find("\\fbox") == text.npos) {
      r.fail("an answer, or a solution with \\boxed{}");
    }
    front["solution"] = text;
  }
  Json out = row_of(std::move(front), r.row);
  take_id(out, {"unique_id", "ID", "problem_id"});
  return out;
}

Json read_humaneval(const Reader& r) {
  Json out =
      row_of({{"prompt", r.text({"prompt"})},
              {"tests", {{"check", r.text({"test"})}, {"entry_point", r.text({"entry_point"})}}}},
             without(r.row, {"test"}));
  take_id(out, {"task_id"});
  return out;
}

// The wording of Austin et al. 2021, without the tags that few-shot prompts of base models need.
Json read_mbpp(const Reader& r) {
  const std::string& task = r.text({"text", "prompt"});
  const Json& list = r.row[r.key({"test_list"})];
  if (!list.is_array() || list.empty()) r.fail("test_list to be a list of asserts");
  std::string prompt = "You are an expert Python programmer, and here is your task: " + task +
                       " Your code should pass these tests:\n";
  for (const Json& test : list) {
    if (!test.is_string()) r.fail("test_list to be a list of asserts");
    prompt += "\n" + test.get<std::string>();
  }
  Json tests = {{"asserts", list}};
  for (const char* setup : {"test_setup_code", "test_imports"}) {
    if (has(r.row, setup)) tests[setup] = r.row[setup];
  }
  Json out = row_of({{"prompt", prompt}, {"tests", tests}},
                    without(r.row, {"text", "test_list", "test_setup_code", "test_imports"}));
  take_id(out, {"task_id"});
  return out;
}

// The cases of a column of LiveCodeBench: a list, or a text of one.
Json cases_of(const Reader& r, const char* key) {
  if (!has(r.row, key)) return Json::array();
  Json list = r.row[key];
  if (list.is_string()) list = Json::parse(list.get_ref<const std::string&>(), nullptr, false);
  if (list.is_array()) return list;
  throw UserError(cat(r.where, ": expected ", key,
                      " to be a list of {input, output}, found a text that is not JSON; compressed "
                      "tests must be unpacked first (zlib within base64)"));
}

// Statement, format of input and output, and examples stand in columns of their own.
std::string codeforces_statement(const Json& row) {
  std::string out = row["description"];
  const auto part = [&](const char* key, const char* heading) {
    if (is_text(row, key) && !blank(row[key].get_ref<const std::string&>())) {
      out += cat("\n\n", heading, "\n\n", row[key].get_ref<const std::string&>());
    }
  };
  part("input_format", "Input");
  part("output_format", "Output");
  if (row.contains("examples") && row["examples"].is_array()) {
    for (const Json& example : row["examples"]) {
      if (!example.is_object() || !is_text(example, "input") || !is_text(example, "output")) {
        continue;
      }
      out += cat("\n\nExample input:\n", example["input"].get_ref<const std::string&>(),
                 "\nExample output:\n", example["output"].get_ref<const std::string&>());
    }
  }
  part("note", "Note");
  return out;
}

// APPS, TACO, LiveCodeBench, LeetCode, Codeforces: a statement, perhaps the code to begin with, and
// tests by one of many names. What the tests look like inside is the code reward's business.
Json read_program(const Reader& r) {
  std::string prompt;
  if (is_text(r.row, "description") && !has(r.row, "problem")) {
    prompt = codeforces_statement(r.row);
  } else {
    prompt = r.text(
        {"query", "question_content", "problem_description", "question", "problem", "prompt"});
  }
  if (is_text(r.row, "starter_code")) {
    const std::string& starter = r.row["starter_code"].get_ref<const std::string&>();
    if (!blank(starter) && prompt.find(starter) == prompt.npos) {
      prompt += cat("\n\nComplete this code:\n```python\n", starter,
                    starter.ends_with('\n') ? "" : "\n", "```");
    }
  }
  Json tests;
  if (has(r.row, "public_test_cases") || has(r.row, "private_test_cases")) {
    tests = cases_of(r, "public_test_cases");
    for (Json& test : cases_of(r, "private_test_cases")) tests.push_back(std::move(test));
  } else if (has(r.row, "test") && has(r.row, "entry_point")) {
    // LeetCodeDataset: its `prompt` is what the tests import.
    const std::string imports = has(r.row, "query") && is_text(r.row, "prompt")
                                    ? r.row["prompt"].get<std::string>() + "\n"
                                    : "";
    tests = {{"check", imports + r.text("test")}, {"entry_point", r.row["entry_point"]}};
  } else {
    tests = r.row[r.key({"tests", "input_output", "official_tests", "test_cases"})];
  }
  const bool none = (tests.is_array() || tests.is_object()) && tests.empty();
  if (none || (tests.is_string() && blank(tests.get_ref<const std::string&>()))) r.fail("tests");
  Json out = row_of({{"prompt", prompt}, {"tests", tests}},
                    without(r.row, {"public_test_cases", "private_test_cases", "test", "query",
                                    "input_output", "official_tests", "test_cases", "prompt"}));
  take_id(out, {"question_id", "problem_id", "task_id"});
  return out;
}

// Label and text of each choice: a list of texts, {"A": text}, or {"text": [], "label": []}.
std::vector<std::pair<std::string, std::string>> labelled(const Reader& r, const Json& choices) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto add = [&](std::string label, const Json& text) {
    if (text.is_array() || text.is_object()) r.fail("choices to be texts");
    out.emplace_back(std::move(label), text.is_string() ? text.get<std::string>() : text.dump());
  };
  const auto letter = [](size_t i) { return std::string(1, static_cast<char>('A' + i)); };
  if (choices.is_array()) {
    for (const Json& text : choices) add(letter(out.size()), text);
  } else if (choices.is_object() && choices.contains("text") && choices.contains("label")) {
    const Json &texts = choices["text"], &labels = choices["label"];
    if (!texts.is_array() || !labels.is_array() || texts.size() != labels.size()) {
      r.fail("choices with as many labels as texts");
    }
    for (size_t i = 0; i < texts.size(); ++i) {
      add(labels[i].is_string() ? labels[i].get<std::string>() : labels[i].dump(), texts[i]);
    }
  } else if (choices.is_object()) {
    for (const auto& [label, text] : choices.items()) add(label, text);
  }
  if (out.empty() || out.size() > 26) r.fail("choices: a list of 1 to 26 texts, or {label: text}");
  return out;
}

Json read_choice(const Reader& r) {
  std::string prompt = r.text({"question", "prompt", "Question"});
  Json choices = r.row[r.key({"choices", "options"})];
  const Json& answer = r.row[r.key({"answer", "answerKey", "answer_idx", "correct", "label"})];
  auto list = labelled(r, choices);
  if (choices.is_array()) {  // AQuA writes the labels into the texts: "A)21"
    const bool written = std::all_of(list.begin(), list.end(), [](const auto& choice) {
      return choice.second.starts_with(choice.first + ")");
    });
    for (size_t i = 0; written && i < list.size(); ++i) {
      std::string& text = list[i].second;
      text.erase(0, std::min(text.find_first_not_of(" ", 2), text.size()));
      choices[i] = text;
    }
  }
  prompt += "\n";
  for (const auto& [label, text] : list) prompt += cat("\n", label, ". ", text);
  return row_of({{"prompt", prompt}, {"choices", choices}, {"answer", answer}},
                without(r.row, {"question", "Question", "options"}));
}

Json read_messages(const Reader& r) {
  Json messages = r.row[r.key({"messages", "conversations"})];
  if (messages.is_array() && !messages.empty() && messages[0].contains("from")) {
    messages = from_sharegpt(messages, r.where);
  }
  check_messages(messages, r.where);
  if (is_text(r.row, "system") && messages[0]["role"] != "system" &&
      !blank(r.row["system"].get_ref<const std::string&>())) {
    messages.insert(messages.begin(), Json{{"role", "system"}, {"content", r.row["system"]}});
  }
  return row_of({{"messages", messages}}, without(r.row, {"conversations", "system"}));
}

// Prompt-only, prompt-completion and language-modelling rows, as text or as messages.
Json read_trl(const Reader& r) {
  const char* key = r.key({"prompt", "messages", "text"});
  if (std::string_view(key) == "prompt" && r.row[key].is_array()) {
    check_messages(r.row[key], r.where);
    return row_of({{"prompt", last_user_text(r.row[key], r.where)}, {"messages", r.row[key]}},
                  without(r.row, {"prompt", "messages"}));
  }
  if (std::string_view(key) != "messages") r.text(key);
  return r.row;
}

// Whether a ground truth is tests for code, and not an answer.
bool is_tests(const Json& value) {
  const auto named = [](const Json& dict) {
    return dict.is_object() &&
           first_of(dict, {"inputs", "outputs", "asserts", "assert_case", "functional", "check",
                           "fn_name", "input"}) != nullptr;
  };
  return named(value) || (value.is_array() && !value.empty() && named(value[0]));
}

Json read_verl(const Reader& r) {
  r.key({"data_source"});
  const Json& model = r.row[r.key({"reward_model"})];
  if (!model.is_object() || !has(model, "ground_truth")) {
    r.fail("reward_model to be an object with ground_truth");
  }
  const char* key = r.key({"prompt"});
  Json front;
  if (r.row[key].is_array()) {
    check_messages(r.row[key], r.where);
    front = {{"prompt", last_user_text(r.row[key], r.where)}, {"messages", r.row[key]}};
  } else {
    front = {{"prompt", r.text(key)}};
  }
  const Json& truth = model["ground_truth"];
  Json parsed = truth;
  if (truth.is_string() && !nested_deeper(truth.get_ref<const std::string&>(), 100)) {
    const Json value = Json::parse(truth.get_ref<const std::string&>(), nullptr, false);
    if (is_tests(value)) parsed = value;
  }
  // Text of tests stays text: integers beyond 64 bits would not survive as JSON.
  const char* name = is_tests(parsed) ? "tests" : parsed.is_object() ? "ground_truth" : "answer";
  front[name] = truth;
  return row_of(std::move(front), r.row);
}

const std::vector<RowFormat> kFormats = {
    {"hone", "", "prompt, question or problem; messages; text", "hone's own rows, as they are"},
    {"gsm8k", "", "question, answer with ####", "answer: what follows ####; solution: all of it"},
    {"math", "", "problem, answer or solution", "answer, or the solution's box"},
    {"math500", "math_500", "problem, answer, unique_id", "as math; id: unique_id"},
    {"aime", "aime24 aime25", "problem, answer", "as math"},
    {"amc", "amc23", "problem, answer", "as math"},
    {"humaneval", "", "task_id, prompt, test, entry_point",
     "prompt: the function's head; tests: check and entry_point"},
    {"mbpp", "", "text or prompt, test_list", "prompt: the task and its asserts; tests: asserts"},
    {"apps", "taco rllm", "question, input_output, starter_code",
     "prompt: with the starter code; tests"},
    {"livecodebench", "lcb",
     "question_content, starter_code, public_test_cases, private_test_cases",
     "as apps; tests: both lists in one"},
    {"leetcode", "", "problem and tests; or query, test, entry_point", "as apps"},
    {"codeforces", "",
     "problem and tests; or description, input_format, output_format, examples, official_tests",
     "as apps"},
    {"choice", "multiple_choice mmlu arc", "question, choices or options, answer or answerKey",
     "prompt: with the choices below; choices, answer"},
    {"messages", "chat openai", "messages: [{role, content}]", "a conversation"},
    {"sharegpt", "conversations", "conversations: [{from, value}], system",
     "a conversation in messages"},
    {"trl", "", "prompt, completion or messages, each as text or as messages",
     "prompt and messages; other columns for the rewards"},
    {"verl", "", "data_source, prompt, reward_model.ground_truth, extra_info",
     "prompt and messages; answer, tests or ground_truth"},
};

}  // namespace

const std::vector<RowFormat>& row_formats() { return kFormats; }

std::string keys_of(const Json& row) {
  std::string out;
  for (const auto& [key, value] : row.items()) {
    out += (out.empty() ? "" : ", ") + key + (value.is_null() ? " (null)" : "");
  }
  return out.empty() ? "no keys" : out;
}

std::string format_name(const std::string& name) {
  std::string plain;  // MATH-500 is math_500
  for (const char c : name)
    plain += c == '-' ? '_' : static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  std::vector<std::string> known = {"auto"};
  for (const RowFormat& format : kFormats) known.push_back(format.name);
  if (std::find(known.begin(), known.end(), plain) != known.end()) return plain;
  for (const RowFormat& format : kFormats) {
    if (!plain.empty() && cat(" ", format.also, " ").find(" " + plain + " ") != std::string::npos) {
      return format.name;
    }
  }
  const std::string near = nearest_word(name, known);
  std::string all;
  for (const std::string& word : known) all += (all.empty() ? "" : ", ") + word;
  throw UserError(cat("unknown format '", name, "'",
                      near.empty() ? "" : "; did you mean " + near + "?", " (formats: ", all, ")"));
}

std::string recognised_format(const Json& row) {
  if (has(row, "reward_model") && has(row, "prompt") && has(row, "data_source")) return "verl";
  if (has(row, "test") && has(row, "entry_point")) {
    return has(row, "query") ? "leetcode" : has(row, "prompt") ? "humaneval" : "hone";
  }
  if (has(row, "unique_id") && has(row, "problem") && has(row, "answer")) return "math500";
  if (has(row, "test_list") && first_of(row, {"text", "prompt"})) return "mbpp";
  if (has(row, "prompt")) return "hone";
  if (has(row, "question_content") || has(row, "public_test_cases")) return "livecodebench";
  if (has(row, "official_tests") && has(row, "description")) return "codeforces";
  if (first_of(row, {"question", "problem"})) {
    if (has(row, "input_output") || (has(row, "tests") && has(row, "starter_code"))) return "apps";
    if (has(row, "question") && first_of(row, {"choices", "options"})) return "choice";
    if (is_text(row, "question") && is_text(row, "answer") &&
        row["answer"].get_ref<const std::string&>().find("####") != std::string::npos) {
      return "gsm8k";
    }
    return "hone";
  }
  if (has(row, "conversations")) return "sharegpt";
  return "hone";
}

namespace {

Json read_as(const std::string& name, const Reader& r) {
  if (name == "gsm8k") return read_gsm8k(r);
  if (name == "math" || name == "math500" || name == "aime" || name == "amc") return read_math(r);
  if (name == "humaneval") return read_humaneval(r);
  if (name == "mbpp") return read_mbpp(r);
  if (name == "apps" || name == "livecodebench" || name == "leetcode" || name == "codeforces") {
    return read_program(r);
  }
  if (name == "choice") return read_choice(r);
  if (name == "messages" || name == "sharegpt") return read_messages(r);
  if (name == "trl") return read_trl(r);
  if (name == "verl") return read_verl(r);
  HONE_CHECK(name == "hone");
  return read_own(r);
}

}  // namespace

Json own_row(const Json& row, const std::string& format, const std::string& where) {
  if (row.size() <= 2 && row.contains("error")) {  // what `hone data import` leaves of a bad row
    throw UserError(cat(where, ": could not be imported: ", to_line(row["error"])));
  }
  const std::string name = format == "auto" ? recognised_format(row) : format;
  Json own = read_as(name, Reader{row, name, where});
  if (has(own, "messages")) check_messages(own["messages"], where);
  if (has(own, "completion") && !own["completion"].is_string()) {
    check_messages(own["completion"], where);
  }
  return own;
}

}  // namespace hone
