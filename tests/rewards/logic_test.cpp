#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

const Json kRow = {{"solution_text_format", "(1) Zoey is a knave\n(2) Oliver is a knight"}};

Score logic(const std::string& answer, const Json& row = kRow, const std::string& spec = "logic") {
  return judge(spec, problem_of(row), "<think>hm</think><answer>" + answer + "</answer>");
}

}  // namespace

TEST_CASE("everyone's role, each said once, is paid") {
  for (const char* answer :
       {"(1) Zoey is a knave\n(2) Oliver is a knight", "(1) Zoey is a knave (2) Oliver is a knight",
        "Oliver is a knight. Zoey is a knave.", "Zoey is a knave, and Oliver is a knight",
        "zoey: KNAVE, oliver: Knight", "Zoey = knave; Oliver = knight",
        "- **Zoey**: knave\n- **Oliver**: knight", "Knights: Oliver\nKnaves: Zoey",
        "So the solution:\nZoey must be a knave\nOliver must be a knight\n",
        "1. Zoey is the knave\n2. Oliver is the knight", "Zoey -> knave\nOliver -> knight"}) {
    INFO(answer);
    CHECK(paid(logic(answer)));
  }
  CHECK(paid(
      judge("logic", problem_of(kRow), "\\boxed{\\text{Zoey is a knave, Oliver is a knight}}")));
  CHECK(paid(logic("Ann and Bob are knights, Cy is a knave",
                   {{"answer", {{"Ann", "knight"}, {"Bob", "knight"}, {"Cy", "knave"}}}})));
}

TEST_CASE("attacks on logic are not paid") {
  for (const char* answer :
       {"",
        "Zoey is a knave",
        "Oliver is a knight",
        "Zoey is a knight\nOliver is a knave",
        "Zoey is a knave\nOliver is a knave",
        "Zoey is a knight or a knave. Oliver is a knight or a knave",
        "Zoey is a knave, Zoey is a knight, Oliver is a knight, Oliver is a knave",
        "Zoey is a knight knave\nOliver is a knave knight",
        "Zoey is a knave\nOliver is a knight\nZoey is a knight",
        "Zoey is a knave\nZoey is a knave\nOliver is a knight",
        "Zoey is not a knight\nOliver is a knight",
        "If Zoey is a knave then Oliver is a knight",
        "Zoey is a knave\nOliver might be a knight",
        "Zoey Oliver knave knight",
        "Zoey is a knave\nOliver is a knight\nNobody is a knave",
        "knave knight",
        "knight",
        "(1)(2)",
        "Zoey: knave, Oliver: ?",
        "Zoey isn't a knight, Oliver is a knight"}) {
    INFO(answer);
    CHECK(unpaid(logic(answer)));
  }
  CHECK(
      unpaid(logic("Zoey is a knave\nOliver is a knight</answer>"
                   "<answer>Zoey is a knight\nOliver is a knight")));
  CHECK(unpaid(judge("logic", problem_of(kRow), "<think>Zoey is a knave\nOliver is a knight")));
  CHECK(unpaid(logic(std::string(1'000'000, 'Z'))));
}

TEST_CASE("score=fraction pays the share of people") {
  const auto fraction = [](const std::string& answer) {
    return *logic(answer, kRow, "logic:score=fraction").value;
  };
  CHECK(fraction("Zoey is a knave\nOliver is a knight") == 1);
  CHECK(fraction("Zoey is a knave\nOliver is a knave") == 0.5);
  CHECK(fraction("Zoey is a knight\nOliver is a knave") == 0);
  CHECK(fraction("Zoey is a knave") == 0);  // someone is missing
}

TEST_CASE("solutions are read in the forms that data sets have") {
  const std::string right = "Zoey is a knave\nOliver is a knight";
  for (const Json& row :
       std::vector<Json>{{{"answer", "Zoey is a knave, and Oliver is a knight."}},
                         {{"gold", "(1) Zoey is a knave\n(2) Oliver is a knight"}},
                         {{"solution", {false, true}}, {"names", {"Zoey", "Oliver"}}},
                         {{"answer", {{"Zoey", false}, {"Oliver", true}}}},
                         {{"ground_truth", kRow}}}) {
    INFO(row.dump());
    CHECK(paid(logic(right, row)));
    CHECK(unpaid(logic("Zoey is a knight\nOliver is a knight", row)));
  }
  for (const Json& row : std::vector<Json>{{},
                                           {{"answer", "42"}},
                                           {{"answer", ""}},
                                           {{"answer", 7}},
                                           {{"answer", "Zoey is a knave, Zoey is a knight"}},
                                           {{"solution", {false, true}}},
                                           {{"solution", {false}}, {"names", {"Zoey", "Oliver"}}},
                                           {{"answer", {{"Zoey", "liar"}}}}}) {
    INFO(row.dump());
    CHECK(logic(right, row).status == Status::bad_reference);
  }
}
