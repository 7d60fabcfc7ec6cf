// What is the same answer and what is not, by example. Each pair is boxed and judged both ways.

#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

struct Pair {
  const char *reference, *answer;
};

std::string boxed(const std::string& answer) { return "\\boxed{" + answer + "}"; }
bool accepts(const Pair& pair, const std::string& spec = "math") {
  return paid(judge_answer(spec, pair.reference, boxed(pair.answer)));
}
Pair swapped(const Pair& pair) { return {pair.answer, pair.reference}; }

const Pair kSame[] = {
    {"\\frac{\\sqrt{3}}{3}", "1/\\sqrt3"},
    {"0.1\\overline{6}", "1/6"},
    {"2^{10}", "1024"},
    {"(1+\\sqrt2)^2", "3+2\\sqrt{2}"},
    {"\\sqrt{2+\\sqrt{3}}", "\\frac{\\sqrt6+\\sqrt2}{2}"},
    {"\\sqrt[3]{-8}", "-2"},
    {"e^{i\\pi}", "-1"},
    {"\\cos 60^\\circ", "1/2"},
    {"\\sin\\frac{\\pi}{6}", "0.5"},
    {"\\log_2 8", "3"},
    {"\\ln e^2", "2"},
    {"\\binom{10}{3}", "120"},
    {"5!", "120"},
    {"|3-5|", "2"},
    {"\\lfloor 3.7 \\rfloor", "3"},
    {"6-5i", "-5i+6"},
    {"\\frac{1}{2+i}", "\\frac{2-i}{5}"},
    {"10,\\!080", "10080"},
    {"58,500", "58500"},
    {"1.2\\times 10^5", "120000"},
    {"3e-4", "0.0003"},
    {"\\$18.90", "18.9"},
    {"\\$32,\\!348", "32348"},
    {"864 \\mbox{ inches}^2", "864"},
    {"864 \\mbox{ inches}^2", "864\\text{ square inches}"},
    {"\\frac{270}7\\text{ degrees}", "\\frac{270}{7}"},
    {"30^\\circ", "30\\text{ degrees}"},
    {"1\\frac{4}{5}", "1.8"},
    {"\\frac 59", "5/9"},
    {"x=5", "5"},
    {"5", "x=5"},
    {"y = 2x+3", "2x+3"},
    {"y = 2x + 3", "y=3+2x"},
    {"y = 2x + 3", "2x - y + 3 = 0"},
    {"5x - 7y + 11z + 4 = 0", "10x-14y+22z+8=0"},
    {"1,-2", "-2,1"},
    {"3, 5, 7", "7, 5, 3"},
    {"1 \\pm \\sqrt{19}", "1-\\sqrt{19}, 1+\\sqrt{19}"},
    {"x = 1 \\pm \\sqrt{19}", "1-\\sqrt{19}, 1+\\sqrt{19}"},
    {"\\{1\\pm\\sqrt{5},-2\\}", "-2, 1+\\sqrt5, 1-\\sqrt5"},
    {"(-\\infty, 2) \\cup (3, \\infty)", "(3,\\infty)\\cup(-\\infty,2)"},
    {"(-\\infty, 2) \\cup (3, \\infty)", "x<2 \\text{ or } x>3"},
    {"x \\in [-2,7]", "-2 \\le x \\le 7"},
    {"(3,4]", "3 < x \\le 4"},
    {"(-\\infty,5)\\cup (5,\\infty)", "x \\ne 5"},
    {"\\mathbb{R} \\setminus \\{1\\}", "(-\\infty,1)\\cup(1,\\infty)"},
    {"(-\\infty,\\infty)", "\\mathbb{R}"},
    {"[-2,7]", "\\left[-2, 7\\right]"},
    {"\\begin{pmatrix} -1/3 \\\\ 2/3 \\\\ 5/3 \\end{pmatrix}", "(-\\frac13, \\frac23, \\frac53)"},
    {"\\begin{pmatrix} -1 & 0 \\\\ 0 & -1 \\end{pmatrix}",
     "-\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}"},
    {"6r^2-4r-24", "2(3r^2-2r-12)"},
    {"(a+5)(b+2)", "ab+2a+5b+10"},
    {"\\cot x", "\\frac{\\cos x}{\\sin x}"},
    {"\\tan^2(y)+1", "\\sec^2(y)"},
    {"\\frac{x+2}{7}", "\\frac{x}{7}+\\frac27"},
    {"3^x - 2^x", "-2^x+3^x"},
    {"x^{1/2}", "\\sqrt{x}"},
    {"\\frac{1}{\\sqrt{x}}", "x^{-1/2}"},
    {"2516_8", "2516_{8}"},
    {"\\text{A5}_{11}", "A5_{11}"},
    {"\\text{(C)}", "C"},
    {"\\text{(C)}", "\\textbf{(C)}"},
    {"C", "(C) 12 \\text{ cm}"},
    {"\\text{Evelyn}", "Evelyn"},
    {"\\text{even}", "\\textbf{Even}"},
    {"\\text{no solution}", "No solution."},
    {"7:32", "14:64"},
    {"20:34", "20:34:00"},
    {"64\\%", "0.64"},
    {"64\\%", "64"},
    {"x > 1", "1 < x"},
    {"x>1", "(1,\\infty)"},
    {"-3 < x < 5", "(-3,5)"},
    {"A, D, F", "\\text{A, D, F}"},
    {"0,-3", "\\{0,-3\\}"},
    {"(1,4.5)", "(1,\\frac92)"},
    {"\\frac{\\pi}{2}", "90^\\circ/1"},
    {"3\\sqrt{13}", "\\sqrt{117}"},
    {"0.75", "\\frac34"},
    {"1/3", "0.33333"},
    {"\\sqrt{17}", "4.1231056"},
    {"\u22125", "-5"},
    {"2\u00d73", "6"},
    {"\u00bd", "0.5"},
    {"x\u00b2 + 1", "x^2+1"},
    {"\u221a2", "\\sqrt{2}"},
    {"3\u03c0", "3\\pi"},
    {"(\u2212\u221e, 2]", "x \u2264 2"},
    {"\\frac{a}{b}", "a/b"},
    {"\\frac{n(n+1)}{2}", "\\frac{n^2+n}{2}"},
    {"n!", "n(n-1)!"},
    {"\\theta", "\u03b8"},
    {"1,2,\\ldots,n", "1, 2, \\dots, n"},
    {"\\emptyset", "\\varnothing"},
    {"100\\text{ cm}", "1\\text{ m}"},
    {"\\frac{3}{4} \\text{ mile}", "0.75"},
    {"5 \\text{ cm}", "5cm"},
    {"8", "\\sqrt{64}"},
    {"\\frac{11+9a}{20}", "\\dfrac{9a + 11}{20}"},
    {"\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\pi/2)"},
    {"p - q", "-q+p"},
    {"x^2/4 + y^2/3 = 1", "3x^2+4y^2=12"},
    {"k = \\frac{-33}{2}", "-16.5"},
    {"\\tan \\frac{x}{2}", "\\tan(x/2)"},
    {"3 \\sec \\frac{1}{2} \\theta", "3\\sec(\\theta/2)"},
    {"x \\ge 3", "[3,\\infty)"},
    {"12, 13", "12 \\text{ and } 13"},
    {"\\frac{1}{2}\\ln 3", "\\ln\\sqrt{3}"},
    {"\\arctan 1", "\\frac{\\pi}{4}"},
    {"\\sqrt{-4}", "2i"},
    {"(2,-3)", "x=2, y=-3"},
    {"\\frac{9}{\\pi^2}(\\sqrt{3}+3)", "\\frac{9\\sqrt3+27}{\\pi^2}"},
    {"7:30 \\text{ p.m.}", "7:30"},
    {"\\text{May}", "may"},
    {"10\\text{ inches}", "10 \\text{ in}"},
    {"2 hours", "2"},
    {"16\\text{ units}^2", "16 \\text{ square units}"},
    {"\\sqrt[4]{16}", "2"},
    {"3.0", "3"},
    {"+7", "7"},
    {"1000000", "10^6"},
    {"x\\ne 0", "(-\\infty,0)\\cup(0,\\infty)"},
    {"\\boxed{7}", "7"}};

// Also no answer may be paid that is longer, shorter or vaguer than the reference.
const Pair kDifferent[] = {
    {"1/2004!", "1/2006!"},
    {"2^{-99}", "2^{-98}"},
    {"10^{150}", "\\sqrt{10^{300}+1}"},
    {"42", "42.0000001"},
    {"10000000000000001", "10000000000000000.0"},
    {"\\frac13", "0.33"},
    {"\\frac13", "0.33334"},
    {"\\frac{1}{3}", "0.4"},
    {"3", "3.00001"},
    {"5 \\text{ cm}", "5 \\text{ m}"},
    {"5 \\text{ apples}", "5 \\text{ pears}"},
    {"x=5", "y=5"},
    {"x=5", "2x=10"},
    {"5", "2x=10"},
    {"x<3", "2x<6"},
    {"x<3", "x>3"},
    {"x<3", "x\\le 3"},
    {"(1,2)", "[1,2]"},
    {"(1,2)", "(2,1)"},
    {"[1,2,3]", "(1,3,2)"},
    {"(1,2)", "1.5"},
    {"1,2", "1"},
    {"1", "1,2"},
    {"\\{1,2\\}", "\\{1,2,3\\}"},
    {"1,2,3", "1,2,2"},
    {"1,1,2", "1,2,2"},
    {"2x+3", "2y+3"},
    {"x^2", "x"},
    {"|x|", "x"},
    {"\\sqrt{x^2}", "x"},
    {"\\sin x", "\\cos x"},
    {"2516_8", "2516"},
    {"2516_8", "1358"},
    {"2516_8", "2516_9"},
    {"1:2:3", "1:4:9"},
    {"12:00", "1:00"},
    {"1:02", "2:04"},
    {"A", "B"},
    {"A", "A, B"},
    {"C", "A, B, C, D"},
    {"\\text{Evelyn}", "Carla"},
    {"\\text{yes}", "no"},
    {"p - q", "p q"},
    {"p-q", "pq"},
    {"x-y", "y-x"},
    {"-5", "5"},
    {"\\pm 5", "5"},
    {"5", "\\pm 5"},
    {"42", "41 = 42"},
    {"42", "42 = 41"},
    {"42", "41 \\approx 42"},
    {"42", "42 or 43"},
    {"42", "42 or anything"},
    {"42", "[41, 43]"},
    {"42", "x \\in \\mathbb{R}"},
    {"42", "\\mathbb{R}"},
    {"42", "\\infty"},
    {"\\infty", "-\\infty"},
    {"1-\\frac1e", "1+\\frac1e"},
    {"4", "4\\sqrt(2)"},
    {"3x-y+13=0", "3x+4y+14=0"},
    {"\\frac{a}{b}", "\\frac{b}{a}"},
    {"x+1", "\u0445+1"},
    {"42", "\uff14\uff12"},
    {"42", "4\u200b2"},
    {"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}1&2\\\\3&5\\end{pmatrix}"},
    {"\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "(1,2,3,4)"},
    {"1,234", "(1,234)"},
    {"1,234", "1"},
    {"55", "\\sum_{k=1}^{10} k"},
    {"2", "\\lim_{x\\to0} 2"},
    {"0", "\\frac{0}{0}"},
    {"0", "x-x+y-y+1"},
    {"1", "0!+1"},
    {"50", "0.5"},
    {"0.5", "50"},
    {"10 \\%", "0.01"},
    {"42", "__import__('os').system('id')"},
    {"42", "\\input{/etc/passwd}"},
    {"42", "9^{9^{9^{9}}}"},
    {"42", "10^{9}!"},
    {"(0,1)", "0,1"},
    {"2\\pi", "6.28"},
    {"\\frac{\\pi}{4}", "45"},
    {"xy", "x+y"},
    {"(x+1)^2", "x^2+1"},
    {"\\ln(x^2)", "\\ln x"},
    {"x \\ge 0", "x > 0"},
    {"3 \\text{ and } 4", "3"},
    {"a^b", "b^a"},
    {"e^{\\pi\\sqrt{163}}", "262537412640768744"},
    {"\\text{cat}", "\\text{cats and dogs}"},
    {"\\text{east}", "\\text{west}"},
    {"8", "2^{3^{1}}+0.0001"},
    {"y=2x+3", "y=2x+4"},
    {"y=2x+3", "x=2y+3"},
    {"(x-1)(x-2)=0", "x=1"},
    {"x^2+y^2=1", "x^2+y^2=2"},
    {"\\frac{1}{x}", "x"},
    {"1", "\\frac{x}{y}"},
    {"42", "42 is not the answer"},
    {"7", "7 8"},
    {"7", "7\\text{ or }8"},
    {"1\\frac12", "\\frac12"},
    {"2\\frac{1}{2}", "1"},
    {"11", "1 1"}};

}  // namespace

TEST_CASE("the same answer in another form is paid, whichever of the two is the reference") {
  for (const Pair& pair : kSame) {
    INFO(pair.reference << "  and  " << pair.answer);
    CHECK(accepts(pair));
    CHECK(accepts(swapped(pair)));
  }
}

TEST_CASE("another answer is not paid, whichever of the two is the reference") {
  for (const Pair& pair : kDifferent) {
    INFO(pair.reference << "  and  " << pair.answer);
    CHECK_FALSE(accepts(pair));
    // A solved reference is not met by its problem, but a solution may meet an unsolved one.
    if (pair.reference != std::string("x<3")) CHECK_FALSE(accepts(swapped(pair)));
  }
}

TEST_CASE("what is not mathematics to its last sign is not read") {
  for (const char* text : {"x+",
                           "\\frac{1}{",
                           "\\frac{1}",
                           "(1,2",
                           "1)",
                           "{",
                           "\\left(1",
                           "1..5",
                           "1.2.3",
                           "--",
                           "^2",
                           "x^",
                           "x_",
                           "\\sqrt",
                           "\\sqrt[3]",
                           "\\foo{3}",
                           "\\begin{pmatrix}1&2\\\\3\\end{pmatrix}",
                           "\\begin{pmatrix}1",
                           "1 2 3",
                           "1\\frac{3}{2}",
                           "5!!",
                           "|x",
                           "\\sin",
                           "\\log_2",
                           "\\int",
                           "=",
                           "x=",
                           "=3",
                           "3 <",
                           "\\text{",
                           "%",
                           "\\%",
                           ",",
                           "\\pm",
                           "\\binom{3}",
                           "9_8",
                           "2_1",
                           "2_{99}",
                           "\\cup",
                           "\\boxed{}",
                           "2\\\\3 &",
                           "\\input{/etc/passwd}",
                           "4\u200b2",
                           "1/0",
                           "\\frac{x}{0} \\frac",
                           "0^{-1}"}) {
    INFO(text);
    const Score score = judge_answer("math", text, boxed(text));
    CHECK(score.status == Status::bad_reference);
    CHECK_FALSE(score.value.has_value());
    const Score answer = judge_answer("math", "42", boxed(text));
    CHECK(unpaid(answer));
  }
}

TEST_CASE("options decide where users disagree") {
  const auto changes = [](const char* option, const Pair& pair, bool by_default) {
    INFO(option << ": " << pair.reference << "  and  " << pair.answer);
    CHECK(accepts(pair) == by_default);
    CHECK(accepts(pair, std::string("math:") + option) == !by_default);
  };
  changes("percent=value", {"50\\%", "50"}, true);
  changes("percent=value", {"50", "50\\%"}, true);
  changes("units=strict", {"5\\text{ cm}", "5"}, true);
  changes("units=strict", {"5", "5\\text{ cm}"}, true);
  changes("units=ignore", {"5\\text{ cm}", "5\\text{ m}"}, false);
  changes("order=given", {"1, 2", "2, 1"}, true);
  changes("fractions=reduced", {"\\frac{1}{2}", "\\frac{2}{4}"}, true);
  changes("forms=literal", {"1024", "2^{10}"}, true);
  changes("forms=literal", {"42", "2 \\cdot 21"}, true);
  changes("digits=0", {"\\frac13", "0.333333"}, true);
  changes("digits=3", {"\\frac13", "0.333"}, false);
  changes("tolerance=1e-6", {"45", "45.00001"}, false);
  changes("tolerance=0.01", {"3.14", "3.15"}, false);
  CHECK(accepts({"50\\%", "0.5"}, "math:percent=value"));
  CHECK(accepts({"\\frac{2}{4}", "\\frac12"}, "math:fractions=reduced"));
  CHECK(accepts({"\\sqrt{2}", "2^{1/2}"}, "math:forms=literal"));
  CHECK(accepts({"\\{1,2\\}", "\\{2,1\\}"}, "math:order=given"));
  CHECK_THROWS(judge_answer("math:digits=-1", "1", "1"));
  CHECK_THROWS(judge_answer("math:digits=2.5", "1", "1"));
  CHECK_THROWS(judge_answer("math:tolerance=2", "1", "1"));
  CHECK_THROWS(judge_answer("math:percent=maybe", "1", "1"));
}

TEST_CASE("boxes that stand side by side are one list, others a hedge") {
  const auto pays = [](const char* reference, const char* text, const char* spec = "math") {
    return paid(judge_answer(spec, reference, text));
  };
  CHECK(pays("1, 2", "\\boxed{2} and $\\boxed{1}$"));
  CHECK(pays("1, 2, 3", "$\\boxed{1}$, $\\boxed{2}$, and $\\boxed{3}$."));
  CHECK(pays("x=1, y=2", "$x = \\boxed{1}$ and $y = \\boxed{2}$"));
  CHECK(pays("\\boxed{1} and \\boxed{2}", "\\boxed{1, 2}"));
  CHECK_FALSE(pays("2", "\\boxed{1} and \\boxed{2}"));
  CHECK_FALSE(pays("1, 2", "\\boxed{1}. Then I find \\boxed{2}"));
  CHECK_FALSE(pays("2", "First \\boxed{1}. Wait: \\boxed{2}"));
  CHECK(pays("2", "First \\boxed{1}. Wait: \\boxed{2}", "math:boxes=last"));
  CHECK_FALSE(pays("1", "First \\boxed{1}. Wait: \\boxed{2}", "math:boxes=last"));
  CHECK(pays("2", "Step \\boxed{1}, step \\boxed{3}. The answer is 2."));
  CHECK(pays("0.5", "\\boxed{\\frac12} or \\boxed{0.5}"));
  const Score hedge = judge_answer("math", "2", "First \\boxed{1}. Wait: \\boxed{2}");
  CHECK(no_answer_for(hedge, "hedged"));
  CHECK(hedge.details.value("hedged", false));
}

TEST_CASE("numbers that agree in their first hundred digits are still told apart") {
  CHECK_FALSE(accepts({"10^{100}", "\\sqrt{10^{200}+1}"}));
  CHECK_FALSE(accepts({"1", "2^{\\frac{1}{2^{500}}}"}));
  CHECK_FALSE(accepts({"e^{10^{-200}}", "1"}));
  CHECK_FALSE(accepts({"\\pi", "\\pi + 10^{-250}"}));
  CHECK_FALSE(accepts({"\\frac{1}{3000!}", "\\frac{1}{3000!+1}"}));
  CHECK(accepts({"\\sqrt{10^{400}}", "10^{200}"}));
  CHECK(accepts({"\\sqrt{2}\\sqrt{3}", "\\sqrt{6}"}));
}
