// What a program printed or returned, against what was expected. In the judge's process, on text
// and on tagged values, so that no code of the solution takes part.
#pragma once

#include <string_view>

#include "rewards/code/value.h"

namespace hone {

struct CompareOptions {
  // |actual - expected| <= tolerance * max(1, |expected|) is equal, where the expected number is
  // written as a float (with a point or an exponent). The default is exact, as in LiveCodeBench and
  // Python's ==; a tolerance is for data sets whose answers are measured, such as 1e-6.
  double tolerance = 0;
};

// Standard output. Both ends are stripped, then both are split into lines; there must be as many
// lines, and each must be the same text without its outer white space or, if all words of both are
// decimal numbers, the same numbers word by word (1 is 1.0, 1e6 is 1000000, 007 is 7; exact at any
// size). White space is ASCII's. A part of the expected lines is never enough.
bool equal_stdout(std::string_view actual, std::string_view expected,
                  const CompareOptions& options = {});

// Two tagged values, as Python's == says (1 == 1.0 == True), except that
// - a tuple equals a list of the same items: JSON has no tuples;
// - a dict's keys None, True, 1 and 1.5 equal the texts that JSON has for them;
// - nan equals nan: nothing else could satisfy such a test;
// - an integer equals an expected float of 2^64 or more if it rounds to it: a row's JSON reader
//   has made floats of such integers.
// A set equals sets and frozensets only, never a list. The tolerance does not reach into sets and
// keys. Time is n log n.
bool equal_values(const Json& actual, const Json& expected, const CompareOptions& options = {});

}  // namespace hone
