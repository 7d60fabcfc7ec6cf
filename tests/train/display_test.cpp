#include "train/display.h"

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <cstdio>
#include <functional>
#include <string>

using namespace hone;

namespace {

// What `body` writes to standard error.
std::string stderr_of(const std::function<void()>& body) {
  std::FILE* file = std::tmpfile();
  REQUIRE(file);
  std::fflush(stderr);
  const int saved = dup(STDERR_FILENO);
  dup2(fileno(file), STDERR_FILENO);
  body();
  std::fflush(stderr);
  dup2(saved, STDERR_FILENO);
  close(saved);
  std::rewind(file);
  std::string text;
  for (int c; (c = std::fgetc(file)) != EOF;) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

}  // namespace

TEST_CASE("control characters become visible pictures") {
  CHECK(visible_text("plain, \ttabs\nand lines") == "plain, \ttabs\nand lines");
  CHECK(visible_text("\x1b[31mred") == "\xE2\x90\x9B[31mred");
  CHECK(visible_text(std::string("\0", 1)) == "\xE2\x90\x80");
  CHECK(visible_text("a\rb") ==
        "a\xE2\x90\x8D"
        "b");
  CHECK(visible_text("\x7F") == "\xE2\x90\xA1");
}

TEST_CASE("C1 controls and broken bytes become replacement characters") {
  CHECK(visible_text("\xC2\x9B"
                     "31m") ==
        "\xEF\xBF\xBD"
        "31m");  // a one-character CSI
  CHECK(visible_text("\x9B"
                     "31m") ==
        "\xEF\xBF\xBD"
        "31m");
  CHECK(visible_text("\xE2\x82") == "\xEF\xBF\xBD");
  CHECK(visible_text("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82") ==
        "\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82");
}

TEST_CASE("characters that reorder or hide text are named") {
  CHECK(visible_text("a\xE2\x80\xAE"
                     "b") == "a<U+202E>b");
  CHECK(visible_text("\xE2\x80\x8B") == "<U+200B>");
  CHECK(visible_text("\xE2\x81\xA6") == "<U+2066>");
  CHECK(visible_text("\xF3\xA0\x81\x81") == "<U+E0041>");
}

TEST_CASE("a step is one plain line where there is no terminal") {
  const std::string text = stderr_of([] {
    Display display({false, false});
    display.step(7, 120, {{"reward", "0.50"}, {"kl", "0.001"}});
  });
  CHECK(text == "step   7/120  reward 0.50  kl 0.001\n");
}

TEST_CASE("a quiet display writes nothing") {
  const std::string text = stderr_of([] {
    Display display({true, true});
    display.note("note");
    display.step(1, 2, {});
    display.progress("work", 1, 2);
    display.sample("heading", "prompt", "completion");
  });
  CHECK(text.empty());
}

TEST_CASE("a bar is not shown for work under two seconds") {
  const std::string text = stderr_of([] {
    Display display({false, true});
    for (int i = 0; i <= 100; ++i) display.progress("work", i, 100);
  });
  CHECK(text.empty());
}

TEST_CASE("a sample dims its thinking on a terminal only") {
  const auto show = [](bool terminal, const std::string& prompt, const std::string& completion) {
    return stderr_of([&] { Display({false, terminal}).sample("step 3", prompt, completion); });
  };
  const std::string plain = show(false, "Q: 1+1\nA:", " <think>\n2\n</think> 2");
  CHECK(plain == "step 3\n  Q: 1+1\n  A: <think>\n  2\n  </think> 2\n");
  const std::string colored = show(true, "Q: 1+1\nA:", " <think>\n2\n</think> 2");
  CHECK(colored.find("\x1b[2m<think>\n  2\n  </think>\x1b[0m 2") != std::string::npos);
  // Opened by the prompt.
  CHECK(show(true, "Q <think>", "so\n</think>2").find("\x1b[2mso\n  </think>\x1b[0m2") !=
        std::string::npos);
  // The model's own escape sequences are shown, not executed.
  CHECK(show(false, "Q", "\x1b[2J").find('\x1b') == std::string::npos);
}
