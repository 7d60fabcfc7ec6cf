#include "rewards/code/judge.h"

#include "base/error.h"
#include "rewards/code/solution.h"
#include "rewards/code/value.h"

namespace hone {
namespace {

constexpr int kMemoryExit = 86;  // zygote.py: an uncaught MemoryError

std::string last_line(const std::string& text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  if (end == std::string::npos) return "";
  const size_t begin = text.find_last_of('\n', end);
  const size_t start = begin == std::string::npos ? 0 : begin + 1;
  return text.substr(start, std::min<size_t>(end + 1 - start, 300));
}

// Why a program that did not end well ended.
std::string reason_of(const ProgramEnd& end, const SandboxLimits& limits) {
  if (end.limit == "processes") return "process_limit";
  if (!end.limit.empty() && end.limit != "stopped") return end.limit + "_limit";
  if (end.cpu_seconds > limits.cpu_seconds) return "time_limit";
  const bool out_of_memory =
      end.exit_code == kMemoryExit || end.error_output.find("std::bad_alloc") != std::string::npos;
  return out_of_memory ? "memory_limit" : "runtime_error";
}

// A line from a sandbox: an object with the nonce, or nothing.
Json message_of(const std::optional<std::string>& line, const std::string& nonce) {
  if (!line) return Json();
  Json message = Json::parse(*line, nullptr, false);
  const bool fits = message.is_object() && message.contains("n") && message["n"] == nonce;
  return fits ? message : Json();
}

// A string field of a line that an untrusted process wrote.
std::string text_field(const Json& message, const char* key) {
  const auto found = message.find(key);
  return found != message.end() && found->is_string() ? found->get<std::string>() : "";
}

std::string words_of(const Json& reply) {
  const std::string error = text_field(reply, "error"), message = text_field(reply, "message");
  return error + (message.empty() ? "" : ": " + message);
}

std::optional<std::string> heard(Sandbox& sandbox) {
  std::optional<std::string> line = sandbox.hear();
  if (line && nested_deeper(*line, 4 * kMaxValueDepth)) return std::string("{}");
  return line;
}

}  // namespace

Sandbox& CodeJudge::program_sandbox() {
  if (!program_) program_ = std::make_unique<Sandbox>(options_.sandbox);
  return *program_;
}

Sandbox& CodeJudge::tests_sandbox() {
  if (!tests_) tests_ = std::make_unique<Sandbox>(options_.sandbox);
  return *tests_;
}

CodeVerdict CodeJudge::judge(const CodeTests& tests, const std::string& source, bool cpp) {
  if (tests.kind == CodeTests::Kind::stdio) return judge_output(tests, source, cpp);
  if (cpp) {
    CodeVerdict verdict;
    verdict.total = tests.size();
    verdict.reason = "wrong_language";
    verdict.message = "these tests call functions of Python; the program is C++";
    return verdict;
  }
  return tests.kind == CodeTests::Kind::call ? judge_calls(tests, source)
                                             : judge_test_code(tests, source);
}

CodeVerdict CodeJudge::judge_output(const CodeTests& tests, const std::string& source, bool cpp) {
  Sandbox& sandbox = program_sandbox();
  CodeVerdict verdict;
  verdict.total = tests.size();
  Program program;
  if (cpp) {
    SandboxLimits limits;  // the compiler's own, whatever the program's
    limits.cpu_seconds = 20;
    limits.wall_seconds = 60;
    limits.memory = int64_t{2} << 30;
    ProgramEnd end;
    program = sandbox.compile(source, options_.compiler, limits, end);
    if (!end.ok()) {
      verdict.reason = "compile_error";
      const size_t error = end.error_output.find("error:");
      verdict.message = error == std::string::npos ? last_line(end.error_output)
                                                   : end.error_output.substr(error, 200);
      return verdict;
    }
  } else {
    program.file = memory_file("solution.py", source);
  }
  for (size_t i = 0; i < tests.size(); ++i) {
    const ProgramEnd end = sandbox.run(program, tests.inputs[i], options_.limits);
    std::string reason, message;
    // An empty output proves nothing by itself: the program must have come to its end.
    const bool finished =
        cpp || end.completed || tests.outputs[i].find_first_not_of(" \t\r\n") != std::string::npos;
    if (!end.ok() || !finished) {
      reason = reason_of(end, options_.limits);
      message = last_line(end.error_output);
      if (message.empty() && end.signal != 0) message = cat("ended by signal ", end.signal);
    } else if (!equal_stdout(end.output, tests.outputs[i], options_.compare)) {
      reason = "wrong_answer";
      message = cat("test ", i + 1, ": printed ", to_line(end.output.substr(0, 100)));
    }
    if (reason.empty()) {
      ++verdict.passed;
      continue;
    }
    if (verdict.reason.empty()) {
      verdict.reason = reason;
      verdict.message = message;
    }
    if (!options_.all_tests) break;
  }
  return verdict;
}

CodeVerdict CodeJudge::judge_calls(const CodeTests& tests, const std::string& source) {
  Sandbox& sandbox = program_sandbox();
  CodeVerdict verdict;
  verdict.total = tests.size();
  const Program program{memory_file("solution.py", source)};
  const auto failed = [&](const std::string& reason, const std::string& message) {
    if (!verdict.reason.empty()) return;
    verdict.reason = reason;
    verdict.message = message;
  };
  bool running = false;
  for (size_t i = 0; i < tests.size(); ++i) {
    if (!running) {
      sandbox.begin({{"kind", "calls"}, {"prelude", kPythonPrelude}}, program, options_.limits,
                    static_cast<int>(tests.size()));
      const Json loaded = message_of(heard(sandbox), sandbox.nonce());
      if (!loaded.contains("loaded")) {
        const ProgramEnd end = sandbox.end();
        failed(reason_of(end, options_.limits),
               loaded.is_object() ? words_of(loaded) : last_line(end.error_output));
        break;  // it will not load the next time either
      }
      running = true;
    }
    const std::string nonce = random_name();
    sandbox.say(to_line({{"n", nonce}, {"f", tests.function}, {"a", tests.arguments[i]}}));
    const std::optional<std::string> line = heard(sandbox);
    if (!line) {
      const ProgramEnd end = sandbox.end();
      running = false;
      failed(reason_of(end, options_.limits), last_line(end.error_output));
    } else {
      const Json reply = message_of(line, nonce);
      const auto value = reply.find("v");
      const auto checked = value == reply.end() ? std::nullopt : read_value(to_line(*value));
      if (checked && passes_call(tests, i, *checked, options_.compare)) {
        ++verdict.passed;
        continue;
      }
      if (checked) {
        failed("wrong_answer", cat("test ", i + 1, ": returned ", checked->dump().substr(0, 200)));
      } else if (!text_field(reply, "unserialisable").empty()) {
        failed("wrong_answer",
               cat("test ", i + 1, ": returned ", text_field(reply, "unserialisable")));
      } else {
        failed("runtime_error", cat("test ", i + 1, ": ", text_field(reply, "error"), " ",
                                    text_field(reply, "message")));
      }
    }
    if (!options_.all_tests) break;
  }
  if (running) sandbox.end();
  return verdict;
}

// The tests' request goes to the program, its reply comes back.
Json CodeJudge::call_program(const Json& request) {
  Sandbox& sandbox = *program_;
  const std::string nonce = random_name();
  Json call = {{"n", nonce},
               {"f", request.at("call")},
               {"a", request.at("a")},
               {"k", request.at("k")},
               {"back", true}};
  if (request.contains("get")) call["get"] = true;
  sandbox.say(to_line(call));
  const Json reply = message_of(heard(sandbox), nonce);
  sandbox.tell("wait");
  Json answer = Json::object();
  for (const char* key : {"error", "message", "unserialisable"}) {
    if (const std::string text = text_field(reply, key); !text.empty()) answer[key] = text;
  }
  if (!answer.empty()) return answer;
  const auto value = reply.find("v");
  if (value == reply.end() || !read_value(to_line(*value))) return Json();
  answer["v"] = *value;
  if (const auto after = reply.find("a"); after != reply.end() && after->is_array()) {
    for (const Json& argument : *after) {
      if (!read_value(to_line(argument))) return Json();
    }
    answer["a"] = *after;
  }
  return answer;
}

CodeVerdict CodeJudge::judge_test_code(const CodeTests& tests, const std::string& source) {
  CodeVerdict verdict;
  verdict.total = tests.size();
  Json payload = {{"asserts", tests.asserts},
                  {"check", tests.check},
                  {"function", tests.function},
                  {"setup", tests.setup},
                  {"reference", tests.reference}};
  const Program program{memory_file("solution.py", source)};
  Sandbox& sandbox = program_sandbox();
  const bool leetcode = source.find("class Solution") != std::string::npos;
  const auto load = [&] {
    sandbox.begin({{"kind", "calls"}, {"prelude", leetcode ? kPythonPrelude : ""}}, program,
                  options_.limits, 1000);
    const Json loaded = message_of(heard(sandbox), sandbox.nonce());
    if (loaded.contains("loaded")) {
      sandbox.tell("wait");  // for the first call
      return true;
    }
    const ProgramEnd end = sandbox.end();
    if (verdict.reason.empty()) {
      verdict.reason = reason_of(end, options_.limits);
      verdict.message = loaded.is_object() ? words_of(loaded) : last_line(end.error_output);
    }
    return false;
  };
  if (!load()) return verdict;
  TestRun run = TestRun::over;
  for (size_t first = 0; first < verdict.total && run != TestRun::needs_one_process;) {
    run = run_test_code(payload, first, verdict);
    if (!verdict.reason.empty() && !options_.all_tests) break;
    if (run == TestRun::program_ended && !load()) return verdict;
  }
  if (run != TestRun::program_ended) sandbox.end();
  if (run != TestRun::needs_one_process) return verdict;
  verdict = {};
  verdict.total = tests.size();
  verdict.one_process = true;
  payload["solution"] = source;
  for (size_t first = 0; first < verdict.total;) {
    run_test_code(payload, first, verdict);
    if (!verdict.reason.empty() && !options_.all_tests) break;
  }
  return verdict;
}

CodeJudge::TestRun CodeJudge::run_test_code(Json payload, size_t& first, CodeVerdict& verdict) {
  const bool proxied = !payload.contains("solution");
  Sandbox& sandbox = tests_sandbox();
  payload["first"] = first;
  const Program code{memory_file("tests.json", to_line(payload))};
  sandbox.begin({{"kind", "tests"}}, code, options_.limits, 1000);
  const std::string nonce = sandbox.nonce();
  const auto failed = [&](const std::string& reason, const std::string& message) {
    if (!verdict.reason.empty()) return;
    verdict.reason = reason;
    verdict.message = message;
  };
  const auto all_failed = [&](const std::string& reason, const std::string& message) {
    failed(reason, message);
    first = verdict.total;
  };
  while (true) {
    const std::optional<std::string> line = heard(sandbox);
    if (!line) {  // over a limit, or crashed: this test has failed
      const ProgramEnd end = sandbox.end();
      failed(reason_of(end, options_.limits),
             cat("test ", ++first, ": ", last_line(end.error_output)));
      return TestRun::over;
    }
    const Json message = Json::parse(*line, nullptr, false);
    if (proxied && message.is_object() && message.contains("call")) {
      sandbox.tell("wait");  // its time stands still while the program works
      const Json answer = call_program(message);
      if (answer.is_null()) {  // it ended, or said what is not a value
        sandbox.end();
        const ProgramEnd end = program_->end();
        failed(reason_of(end, options_.limits),
               cat("test ", ++first, ": ", last_line(end.error_output)));
        return TestRun::program_ended;
      }
      sandbox.say(to_line(answer));
      continue;
    }
    if (!message.is_object() || message.value("n", Json()) != nonce) {
      sandbox.end();
      all_failed("wrong_answer", "the tests' report was disturbed");
      return TestRun::over;
    }
    if (message.contains("unreadable")) {
      sandbox.end();
      throw BadTests(cat("the tests do not run: ", words_of(message)));
    }
    if (message.contains("one_process")) {
      sandbox.end();
      return TestRun::needs_one_process;
    }
    if (message.contains("broken")) {
      all_failed("runtime_error", words_of(message));
      sandbox.end();
      return TestRun::over;
    }
    if (message.contains("end")) {
      sandbox.end();
      if (first != verdict.total) all_failed("wrong_answer", "the tests' report was disturbed");
      return TestRun::over;
    }
    if (message.value("test", Json()) != first) continue;
    ++first;
    sandbox.tell("again");  // each test has the full time
    if (message.value("ok", Json()) == true) {
      ++verdict.passed;
    } else {
      failed(text_field(message, "error") == "AssertionError" ? "wrong_answer" : "runtime_error",
             cat("test ", first, ": ", words_of(message)));
      if (!options_.all_tests) {
        sandbox.end();
        return TestRun::over;
      }
    }
  }
}

}  // namespace hone
