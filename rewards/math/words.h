// Text, choices and units: what an answer says in words.
#pragma once

#include <string>
#include <string_view>

#include "rewards/rational.h"

namespace hone::math {

// A unit by its canonical words, e.g. "cm^2" for "square centimetres", and what it measures.
struct Unit {
  std::string name;          // "" for no unit at all, such as "units"
  bool known = false;        // in the table
  std::string_view measure;  // "length", "time", ... with its power appended in `power`
  int power = 1;
  Rational factor{1};  // of the measure's base unit, to the first power
};
Unit canonical_unit(std::string_view text);

// Whether the units say the same: the same words, or one says less.
bool same_unit(const Unit& a, const Unit& b);

// Letters and digits in lower case with single spaces, articles and LaTeX's text commands gone.
// "" if the text is not words: it holds mathematics, or no letter.
std::string normal_words(std::string_view text);

// The letter of a multiple-choice answer: "C", "(C)", "\text{(C)}", "C.", "(C) Cecile", "C: 12";
// 0 if it is none. With `prose`, also "D, because ...": the letter and then a sentence.
char choice_letter(std::string_view text, bool prose);

}  // namespace hone::math
