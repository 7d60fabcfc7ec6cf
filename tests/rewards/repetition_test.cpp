#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "base/error.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Approx;

namespace {

double repetition(const std::string& options, const std::string& text) {
  const Score score = judge("repetition" + (options.empty() ? "" : ":" + options), {}, text);
  REQUIRE(score.status == Status::ok);
  return *score.value;
}

}  // namespace

TEST_CASE("n-grams that repeat cost in proportion") {
  CHECK(repetition("", "a b c a b c") == Approx(-0.25));  // abc bca cab abc
  CHECK(repetition("n=2", "x x x x x") == Approx(-0.75));
  CHECK(repetition("n=2,max_penalty=-0.5", "x x x x x") == Approx(-0.375));
  CHECK(repetition("n=1", "x y x y") == Approx(-0.5));
  CHECK(repetition("n=2", "Yes no YES No") == Approx(-1 / 3.0));  // case does not matter
}

TEST_CASE("no repetition costs nothing") {
  for (const char* text : {"", " ", "one", "one two", "one two three", "a b c d e f g"}) {
    INFO(text);
    CHECK(repetition("", text) == 0);
    CHECK_FALSE(std::signbit(repetition("", text)));
  }
  CHECK(repetition("max_penalty=0", "x x x x x") == 0);
}

TEST_CASE("text without spaces repeats as well") {
  CHECK(repetition("", std::string(4000, 'a')) < -0.9);
  std::string laugh;
  for (int i = 0; i < 1000; ++i) laugh += "ha";
  CHECK(repetition("", laugh) < -0.9);
  std::string zh;
  for (int i = 0; i < 5; ++i) zh += "\xE8\xBF\x99\xE4\xB8\xAA";
  CHECK(repetition("n=2", zh) == Approx(-7 / 9.0));
}

TEST_CASE("token ids count as TRL counts them") {
  const auto rewarder = make_rewarder(parse_reward_spec("repetition:unit=tokens,n=2"));
  const Problem problem;
  const auto value = [&](std::vector<int32_t> tokens) {
    Completion completion;
    completion.text = "t";
    completion.tokens = std::move(tokens);
    return rewarder->score({{&problem, &completion, "", {}}})[0];
  };
  CHECK(*value({1, 2, 3, 4}).value == 0);
  CHECK(*value({5, 5, 5, 5, 5}).value == Approx(-0.75));
  CHECK(*value({9}).value == 0);
  CHECK(value({}).status == Status::verifier_error);  // text, but no ids
}

TEST_CASE("repetition options that make no sense are refused") {
  for (const char* spec : {"repetition:n=0", "repetition:n=1000", "repetition:max_penalty=1.5",
                           "repetition:unit=bytes"}) {
    INFO(spec);
    CHECK_THROWS_AS(parse_reward_spec(spec), UserError);
  }
}
