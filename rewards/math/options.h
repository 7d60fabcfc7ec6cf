// What users of answer graders disagree about. Each field is an option of the `math` reward, e.g.
// math:units=strict,digits=4; the defaults are what a reward for training should pay for.
#pragma once

#include "rewards/extraction.h"

namespace hone::math {

enum class Percent { either, value };
enum class Units { lenient, strict, ignore };
enum class Order { any, given };
enum class Fractions { any, reduced };
enum class Forms { closed, literal };
enum class Boxes { list, last };

struct MathOptions {
  // Where the answer stands: auto, boxed, answer_tag, hash, last_number, whole.
  Extract extract = Extract::automatic;

  // A decimal may stand for a number that it is the correct rounding of (1/3, \sqrt{2}; never for
  // an integer) if it has at least so many significant digits; 0: never. Math-Verify rounds to six
  // decimals.
  int digits = 5;

  // Two numbers of which one is written as a decimal may differ by this much of the reference.
  double tolerance = 0;

  // either: 12% is 0.12 and also the figure 12, whichever the other side has; value: 0.12 only.
  Percent percent = Percent::either;

  // lenient: units that both sides have must agree (100 cm is 1 m), one that only one side has is
  // overlooked; strict: the answer must have the reference's; ignore: units are not looked at.
  Units units = Units::lenient;

  // any: 1, 2 is 2, 1, since a list without brackets is a set of answers; given: in its order.
  Order order = Order::any;

  // any: 2/4 is 1/2; reduced: a literal fraction must be in lowest terms if the reference's is.
  Fractions fractions = Fractions::any;

  // closed: 2^{10}, 10! and \binom{5}{2} are numbers; literal: where the reference is a plain
  // number, so must the answer be. Sums, integrals, limits, gcd and the like are never evaluated.
  Forms forms = Forms::closed;

  // Several different boxes: list: boxes with nothing but "and", "or" and commas between them are
  // one list, any others a hedge, which is no answer; last: the last box counts.
  Boxes boxes = Boxes::list;
};

}  // namespace hone::math
