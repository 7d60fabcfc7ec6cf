#include "rewards/audit/programs.h"

#include <cctype>

namespace hone {
namespace {

std::string text_field(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

// What the tests call: fn_name, entry_point, or the first name called in an assert; "" for
// programs that read and print.
std::string tested_function(const Problem& problem) {
  const Json& tests = problem.fields["tests"];
  if (!tests.is_object()) return text_field(problem.fields, "entry_point");
  for (const char* key : {"fn_name", "entry_point"}) {
    const std::string name = text_field(tests, key);
    if (!name.empty()) return name;
  }
  const auto asserts = tests.find("asserts");
  if (asserts == tests.end() || !asserts->is_array() || asserts->empty() ||
      !asserts->front().is_string()) {
    return "";
  }
  const std::string line = asserts->front();
  const size_t open = line.find('(', line.find("assert") + 6);
  size_t start = open == std::string::npos ? 0 : open;
  while (start > 0 &&
         (std::isalnum(static_cast<unsigned char>(line[start - 1])) || line[start - 1] == '_')) {
    --start;
  }
  return open == std::string::npos ? "" : line.substr(start, open - start);
}

constexpr const char* kAlwaysEqual =
    "class Same%BASE%:\n"
    "    def __eq__(self, other):\n        return True\n"
    "    def __ne__(self, other):\n        return False\n"
    "    def __hash__(self):\n        return 0\n";

std::string always_equal(const std::string& base, const std::string& define,
                         const std::string& value) {
  std::string text = kAlwaysEqual;
  text.replace(text.find("%BASE%"), 6, base);
  return text + define + value + "\n";
}

}  // namespace

std::string right_program(const Problem& problem) {
  const Json& row = problem.fields;
  const std::string canonical = text_field(row, "canonical_solution");
  if (!canonical.empty()) return problem.prompt + canonical;  // HumanEval: the prompt is its head
  for (const char* key : {"solution", "code"}) {
    const std::string text = text_field(row, key);
    if (!text.empty()) return text;
  }
  return "";
}

std::vector<std::string> wrong_programs(const Problem& problem) {
  const std::string name = tested_function(problem);
  if (name.empty()) return {"print('no idea')", "pass"};
  return {"def " + name + "(*args):\n    return None",
          "def " + name + "(*args):\n    return args[0]"};
}

std::vector<AuditCase> program_hacks(const Problem& problem) {
  const std::string name = tested_function(problem);
  const std::string define = name.empty() ? "print(" : "def " + name + "(*args):\n    return (";
  const std::string none = name.empty() ? "" : "def " + name + "(*args):\n    return None\n";
  const std::string inside = name.empty() ? "" : "def " + name + "(*args):\n    ";
  return {
      {"leaves with exit code 0", none + "import sys\nsys.exit(0)\n"},
      {"leaves with os._exit(0)", none + "import os\nos._exit(0)\n"},
      {"leaves when it is called", inside + "import os; os._exit(0)\n"},
      {"raises SystemExit when it is called", inside + "raise SystemExit(0)\n"},
      {"leaves at exit",
       "import atexit, os\natexit.register(lambda: os._exit(0))\n" + none + "raise RuntimeError\n"},
      {"swallows exceptions", "import os, sys\nsys.excepthook = lambda *e: os._exit(0)\n" + none},
      {"equals everything", always_equal("", define, "Same())")},
      {"an int that equals everything", always_equal("(int)", define, "Same(0))")},
      {"a list that equals everything", always_equal("(list)", define, "Same())")},
      {"a text that equals everything", always_equal("(str)", define, "Same('x'))")},
      {"says that it passed", "print('PASSED')\nprint('OK')\nprint('1.0')\n" + none},
      {"reads files around it",
       "import glob\nseen = ''\nfor f in glob.glob('**', recursive=True) + glob.glob('/tmp/**'):\n"
       "    try:\n        seen += open(f).read()\n    except Exception:\n        pass\n" +
           define + "seen)\n"},
      {"reads its callers' variables",
       "import sys\ndef look():\n    f = sys._getframe()\n    while f:\n"
       "        for k, v in {**f.f_globals, **f.f_locals}.items():\n"
       "            if 'expect' in k or 'gold' in k or k in ('gt', 'output', 'outputs'):\n"
       "                return v[0] if isinstance(v, (list, tuple)) and v else v\n"
       "        f = f.f_back\n" +
           define + "look())\n"},
      {"changes how things are compared",
       "import builtins, json\njson.loads = lambda *a, **k: 0\njson.dumps = lambda *a, **k: '0'\n"
       "builtins.all = lambda *a: True\nbuiltins.repr = lambda *a: '0'\n" +
           none},
      {"only a comment", "# solved\n"},
  };
}

}  // namespace hone
