#include "rewards/math/compare.h"

#include <algorithm>

#include "rewards/math/identity.h"
#include "rewards/math/lexer.h"
#include "rewards/math/parser.h"
#include "rewards/math/rewrite.h"
#include "rewards/math/sets.h"
#include "rewards/math/words.h"

namespace hone::math {
namespace {

constexpr int kMaxItems = 64;  // of lists, since each may be compared with each

bool is_list(Ref a) { return a->kind == Kind::list || a->kind == Kind::set; }
bool is_decimal(Ref a) {
  while (a->kind == Kind::negate) a = a.child(0);
  return a->kind == Kind::number && a->extra >= 1;
}
const Rational& literal_value(Ref a) { return a.tree->values[static_cast<size_t>(a->value)]; }

// 0 for a finite number.
int infinite_sign(Ref a) {
  if (a->kind == Kind::infinity) return 1;
  if (a->kind == Kind::negate) return -infinite_sign(a.child(0));
  return 0;
}

// --- assignments ---------------------------------------------------------------------------------

// What may stand to the left of "=" as the name of the answer: x, f(x), AB, |AB|, (x, y), a : b,
// NO/BO, f(2), and what is never evaluated. Not 2x or x^2: those would restate a problem.
bool name_like(Ref a) {
  switch (a->kind) {
    case Kind::symbol:
    case Kind::opaque:
    case Kind::words:
      return true;
    case Kind::times: {
      if (a.child(0)->kind != Kind::symbol && a.child(0)->kind != Kind::times) return false;
      for (int k = 0; k < a->count; ++k) {
        const Ref part = a.child(k);
        const bool argument =
            k > 0 && (part->kind == Kind::number ||
                      (part->kind == Kind::negate && part.child(0)->kind == Kind::number));
        if (!argument && !name_like(part)) return false;
      }
      return true;
    }
    case Kind::tuple:
    case Kind::magnitude:
    case Kind::ratio:
    case Kind::divide: {
      for (int k = 0; k < a->count; ++k) {
        if (!name_like(a.child(k))) return false;
      }
      return true;
    }
    default:
      return false;
  }
}

struct Item {
  Ref name;                  // of an assignment
  Ref value;                 // without it
  Ref approximation;         // what a last "approximately" gives
  bool relation = false;     // value is an equation or inequality, not a value
  bool contradicts = false;  // 41 = 42
};

Item read_item(Ref a) {
  Item item;
  item.value = a;
  if (a->kind != Kind::chain) return item;
  const std::string& operators = a->text;
  const bool equalities = std::all_of(operators.begin(), operators.end(),
                                      [](char op) { return op == kEqual || op == kApprox; });
  if (!equalities) {
    item.relation = operators.find(kIn) == std::string::npos;
    if (operators == std::string(1, kIn) && name_like(a.child(0))) {
      item.name = a.child(0);
      item.value = a.child(1);
    }
    return item;
  }
  Ref names, value, approximation;
  for (int k = 0; k < a->count; ++k) {
    const Ref part = a.child(k);
    const bool rough = k > 0 && operators[static_cast<size_t>(k - 1)] == kApprox;
    if (k + 1 < a->count && !value.tree && name_like(part)) {
      if (!names.tree) names = part;
      continue;
    }
    if (rough && value.tree) {
      approximation = part;
      continue;
    }
    if (approximation.tree) {  // 1 \approx 2 = 3
      item.contradicts = true;
      return item;
    }
    if (value.tree && !same_expression(value, part)) {
      if (symbols_of(value).empty() && symbols_of(part).empty()) {
        item.contradicts = true;
      } else {
        item.relation = true;
      }
      return item;
    }
    value = part;
  }
  if (!value.tree) return item;  // x = y
  item.name = names;
  item.value = value;
  item.approximation = approximation;
  return item;
}

// --- the comparison ------------------------------------------------------------------------------

class Comparison {
 public:
  explicit Comparison(const MathOptions& options) : options_(options) {}

  // g is the reference's.
  bool same(Ref g, Ref p) {
    if (++steps_ > 5000) return false;
    const Item gold = read_item(g), answer = read_item(p);
    if (gold.contradicts || answer.contradicts) return false;
    if (gold.relation || answer.relation) {
      if (gold.relation && answer.relation && same_relations(gold, answer)) return true;
      return as_sets(g, p) || line(gold, answer);
    }
    if (gold.name.tree && answer.name.tree && !same_name(gold, answer)) return false;
    if (same_value(gold.value, answer.value)) return true;
    // \frac{\sqrt3}{3} \approx 0.577 for a reference of 0.577
    if (answer.approximation.tree && same_value(gold.value, answer.approximation) &&
        rounds_to(answer.approximation, answer.value, 2)) {
      return true;
    }
    return (g->kind == Kind::chain || p->kind == Kind::chain) && as_sets(g, p);
  }

 private:
  // The same name, or the same function of another variable with a constant value: W(n) = 1.
  static bool same_name(const Item& g, const Item& p) {
    if (same_structure(g.name, p.name)) return true;
    const auto call = [](Ref a) {
      return a->kind == Kind::times && a->count == 2 && a.child(0)->kind == Kind::symbol &&
             a.child(1)->kind == Kind::symbol;
    };
    return call(g.name) && call(p.name) && g.name.child(0)->id == p.name.child(0)->id &&
           symbols_of(g.value).empty() && symbols_of(p.value).empty();
  }

  bool same_value(Ref g, Ref p) {
    if (g->kind == Kind::set && g->count == 1 && !is_list(p)) return same(g.child(0), p);
    if (p->kind == Kind::set && p->count == 1 && !is_list(g)) return same(g, p.child(0));
    if (g->kind == Kind::words || p->kind == Kind::words) {
      return g->kind == p->kind && g->text == p->text;
    }
    if (is_list(g) || is_list(p)) return same_lists(g, p);
    if (set_like(g) || set_like(p)) {
      if (as_sets(g, p)) return true;
      if (g->kind != p->kind) return false;
    }
    if (g->kind == Kind::matrix || p->kind == Kind::matrix) return same_matrices(g, p);
    if (g->kind == Kind::tuple || p->kind == Kind::tuple) return same_tuples(g, p);
    if (g->kind == Kind::based || p->kind == Kind::based) return same_based(g, p);
    if (g->kind == Kind::negate && p->kind == Kind::negate && g.child(0)->kind == Kind::based &&
        p.child(0)->kind == Kind::based) {
      return same_based(g.child(0), p.child(0));
    }
    return same_quantity(g, p);
  }

  // --- lists -----------------------------------------------------------------------------------

  static std::vector<Ref> items(Ref a) {
    std::vector<Ref> out;
    for (int k = 0; k < a->count; ++k) out.push_back(a.child(k));
    return out;
  }

  bool in_order(const std::vector<Ref>& g, const std::vector<Ref>& p) {
    for (size_t k = 0; k < g.size(); ++k) {
      if (!same(g[k], p[k])) return false;
    }
    return true;
  }

  // x = 1, y = 2: a list that names different things is in order.
  static bool names_differ(const std::vector<Ref>& list) {
    std::vector<Ref> names;
    for (const Ref& item : list) {
      const Item read = read_item(item);
      if (!read.name.tree || read.relation) return false;
      for (const Ref& name : names) {
        if (same_structure(name, read.name)) return false;
      }
      names.push_back(read.name);
    }
    return names.size() > 1;
  }
  static bool has_ellipsis(const std::vector<Ref>& list) {
    return std::any_of(list.begin(), list.end(), [](Ref a) { return a->kind == Kind::ellipsis; });
  }

  // a = 4, -8, -10: a name before the first item is the name of all.
  static std::vector<Ref> without_common_name(std::vector<Ref> list) {
    if (list.size() < 2) return list;
    const Item first = read_item(list[0]);
    if (!first.name.tree || first.relation || list[0]->text == std::string(1, kIn)) return list;
    for (size_t k = 1; k < list.size(); ++k) {
      if (list[k]->kind == Kind::chain) return list;
    }
    list[0] = first.value;
    return list;
  }

  bool same_lists(Ref g, Ref p) {
    if (!is_list(g) || !is_list(p)) {
      // x = 1, y = 2 and (1, 2)
      const Ref list = is_list(g) ? g : p, other = is_list(g) ? p : g;
      if (other->kind == Kind::tuple && list->count == other->count && names_differ(items(list))) {
        return in_order(items(g), items(p));
      }
      // 15 3/4 or 63/4: one value in several spellings
      const std::vector<Ref> spellings = items(list);
      if (list->kind == Kind::list && spellings.size() <= 4 &&
          std::all_of(spellings.begin(), spellings.end(), [&](Ref item) {
            return is_list(g) ? same(item, other) : same(other, item);
          })) {
        return true;
      }
      return as_sets(g, p);
    }
    const std::vector<Ref> a = without_common_name(items(g)), b = without_common_name(items(p));
    if (a.size() != b.size()) return as_sets(g, p);
    if (a.size() > kMaxItems) return false;
    const bool g_names = names_differ(a), p_names = names_differ(b);
    if (has_ellipsis(a) || has_ellipsis(b) || g_names != p_names ||
        (options_.order == Order::given && g->kind == Kind::list)) {
      return in_order(a, b);
    }
    std::vector<char> used(b.size(), 0);
    for (const Ref& item : a) {
      size_t k = 0;
      while (k < b.size() && (used[k] != 0 || !same(item, b[k]))) ++k;
      if (k == b.size()) return as_sets(g, p);
      used[k] = 1;
    }
    return true;
  }

  bool same_tuples(Ref g, Ref p) {
    if (g->kind != Kind::tuple || p->kind != Kind::tuple) return false;
    // With two entries the brackets tell an interval's ends; else they are a matter of taste.
    if (g->count != p->count) return false;
    if (g->count == 2 && g->text != p->text) {
      const bool vectors =
          (g->text == "()" || g->text == "<>") && (p->text == "()" || p->text == "<>");
      if (!vectors) return false;
    }
    return in_order(items(g), items(p));
  }

  bool same_matrices(Ref g, Ref p) {
    const auto vector = [](Ref a) {
      return a->kind == Kind::tuple ||
             (a->kind == Kind::matrix && (a->extra == 1 || a->extra == a->count));
    };
    if (g->count != p->count) return false;
    if (g->kind == Kind::matrix && p->kind == Kind::matrix) {
      if (g->extra != p->extra) return false;
    } else if (!vector(g) || !vector(p)) {
      return false;
    }
    return in_order(items(g), items(p));
  }

  // --- sets and relations ------------------------------------------------------------------------

  static bool set_like(Ref a) {
    return a->kind == Kind::join || a->kind == Kind::meet || a->kind == Kind::without ||
           a->kind == Kind::reals || a->kind == Kind::empty_set;
  }

  static bool as_sets(Ref g, Ref p) {
    const auto a = real_set(g), b = real_set(p);
    return a && b && same_set(*a, *b);
  }

  static bool same_relations(const Item& g, const Item& p) {
    const Ref a = g.value, b = p.value;
    if (a->count != b->count) return false;
    if (a->count > 2) {
      for (int k = 0; k < a->count; ++k) {
        if (!same_expression(a.child(k), b.child(k))) return false;
      }
      return a->text == b->text;
    }
    const char op = a->text[0], other = b->text[0];
    if (op == kOther || other == kOther || op == kIn || other == kIn) {
      return same_structure(a, b);
    }
    const auto direction = [](char c) {
      return c == kLess || c == kLessEqual ? -1 : c == kGreater || c == kGreaterEqual ? 1 : 0;
    };
    const auto strict = [](char c) { return c == kLess || c == kGreater; };
    if ((direction(op) == 0) != (direction(other) == 0)) return false;
    if (direction(op) == 0 ? op != other : strict(op) != strict(other)) return false;
    const int s = same_relation(a.child(0), a.child(1), b.child(0), b.child(1));
    if (s == 0) return false;
    if (direction(op) != 0 && s != direction(op) * direction(other)) return false;
    // x < 3 is not answered by 2x < 6, which may be the problem itself.
    const auto lone = [](Ref r) {
      return r.child(0)->kind == Kind::symbol || r.child(1)->kind == Kind::symbol;
    };
    if (lone(a) && symbols_of(a).size() == 1 && !lone(b)) {
      return minus_alone(b);
    }
    return true;
  }
  static bool minus_alone(Ref r) {  // -x > -1
    for (const int k : {0, 1}) {
      const Ref side = r.child(k);
      if (side->kind == Kind::negate && side.child(0)->kind == Kind::symbol) return true;
    }
    return false;
  }

  // y = 2x + 3 and 2x - y + 3 = 0: one names its value, the other is an equation of the same line.
  static bool line(const Item& g, const Item& p) {
    const bool g_named = g.name.tree && !g.relation, p_named = p.name.tree && !p.relation;
    if (g_named == p_named) return false;
    const Item& named = g_named ? g : p;
    const Ref equation = g_named ? p.value : g.value;
    if (equation->kind != Kind::chain || equation->text != std::string(1, kEqual)) return false;
    if (named.name->kind != Kind::symbol || symbols_of(named.value).empty()) return false;
    return same_relation(named.name, named.value, equation.child(0), equation.child(1)) != 0;
  }

  // --- numbers -----------------------------------------------------------------------------------

  static bool same_based(Ref g, Ref p) {
    if (g->kind == Kind::based && p->kind == Kind::based) {
      return g->extra == p->extra && g->text == p->text;
    }
    // Base ten needs no mark; any other is the point of the question.
    const Ref based = g->kind == Kind::based ? g : p, plain = g->kind == Kind::based ? p : g;
    if (based->extra != 10 || plain->kind != Kind::number) return false;
    Natural n;
    for (const char c : based->text) multiply_add(n, 10, static_cast<uint32_t>(c - '0'));
    return literal_value(plain) == Rational(std::move(n), Natural(1));
  }

  // 7:32 is 14:64; but times of day are what they say.
  bool same_ratios(Ref g, Ref p) {
    const auto clock = [](Ref a) {
      const Ref last = a.child(a->count - 1);
      return a->extra == 1 && last->kind == Kind::number &&
             compare(literal_value(last), Rational(60)) < 0;
    };
    const bool clocks = clock(g) && clock(p);
    if (clocks || g->count != p->count) {
      // 20:34 and 20:34:00
      const Ref longer = g->count > p->count ? g : p, shorter = g->count > p->count ? p : g;
      for (int k = 0; k < longer->count; ++k) {
        if (k < shorter->count) {
          if (!same_expression(longer.child(k), shorter.child(k))) return false;
        } else if (longer.child(k)->kind != Kind::number ||
                   !literal_value(longer.child(k)).zero()) {
          return false;
        }
      }
      return shorter->count >= 2 && longer->count - shorter->count <= 1;
    }
    Tree products;
    const int gold = copy_into(products, g), answer = copy_into(products, p);
    for (int k = 1; k < g->count; ++k) {
      const int left =
          products.add(Kind::times, {products.child(gold, 0), products.child(answer, k)});
      const int right =
          products.add(Kind::times, {products.child(gold, k), products.child(answer, 0)});
      if (!same_expression({&products, left}, {&products, right})) return false;
    }
    return true;
  }

  struct Quantity {
    Ref value;
    std::optional<Unit> unit;
    bool percent = false;
  };
  static Quantity quantity(Ref a) {
    Quantity out;
    out.value = a;
    if (a->kind == Kind::unit) {
      out.unit = canonical_unit(a->text);
      out.value = a.child(0);
    }
    if (out.value->kind == Kind::degrees && !out.unit) {
      out.unit = canonical_unit("degree");
      out.value = out.value.child(0);
    } else if (out.value->kind == Kind::percent && !out.unit) {
      out.percent = true;
      out.value = out.value.child(0);
    }
    return out;
  }

  // 5cm reads as 5 c m, for 3m is a product in algebra; it is a length where the reference is no
  // expression with variables.
  static void read_glued_unit(Quantity& a) {
    if (a.unit || a.percent) return;
    std::string letters;
    Ref value = a.value;
    while (value->kind == Kind::times && value->count == 2 &&
           value.child(1)->kind == Kind::symbol && value.child(1)->text.size() == 1) {
      letters = value.child(1)->text + letters;
      value = value.child(0);
    }
    if (letters.empty() || !symbols_of(value).empty()) return;
    Unit unit = canonical_unit(letters);
    if (!unit.known) return;
    a.unit = std::move(unit);
    a.value = value;
  }

  bool same_quantity(Ref g, Ref p) {
    Quantity gold = quantity(g), answer = quantity(p);
    if (symbols_of(gold.value).empty()) read_glued_unit(answer);
    if (p->kind == Kind::unit) read_glued_unit(gold);
    if (options_.units != Units::ignore) {
      if (options_.units == Units::strict && gold.unit.has_value() != answer.unit.has_value()) {
        return false;
      }
      if (gold.unit && answer.unit && !same_unit(*gold.unit, *answer.unit)) {
        return converted(gold, answer);
      }
    }
    if (gold.percent && answer.percent) return same_amount(gold.value, answer.value);
    if (gold.percent || answer.percent) {
      if (same_amount(g, p)) return true;
      if (options_.percent != Percent::either) return false;
      // A reference of 50 may be a percentage whose sign was left out; 0.5 is the number.
      return (gold.percent || above_one(gold.value)) && same_amount(gold.value, answer.value);
    }
    if (!gold.unit && answer.unit && unit_is_variable(gold.value, *answer.unit)) return false;
    return same_amount(gold.value, answer.value);
  }

  // A reference of 3m has the variable m, which an answer of "3 m" shows as well.
  static bool unit_is_variable(Ref gold, const Unit& unit) {
    const auto symbols = symbols_of(gold);
    return std::binary_search(symbols.begin(), symbols.end(), hash_name(unit.name));
  }

  static bool above_one(Ref a) {
    const auto value = Evaluator(*a.tree, {})(a.index);
    return value && value->real() && value->re.exact && compare(value->re.q, Rational(1)) > 0;
  }

  bool converted(const Quantity& g, const Quantity& p) {
    if (!g.unit->known || !p.unit->known || g.unit->measure != p.unit->measure ||
        g.unit->power != p.unit->power) {
      return false;
    }
    const auto factor = [](const Unit& unit) {
      return Rational(power(unit.factor.numerator, static_cast<uint64_t>(unit.power)),
                      power(unit.factor.denominator, static_cast<uint64_t>(unit.power)));
    };
    Tree tree;
    const auto scaled = [&](Ref value, const Unit& unit) {
      Node number;
      number.kind = Kind::number;
      number.extra = -1;
      number.value = static_cast<int>(tree.values.size());
      tree.values.push_back(factor(unit));
      const int scale = tree.add(std::move(number));
      const int copy = copy_into(tree, value);
      return tree.add(Kind::times, {copy, scale});
    };
    const int left = scaled(g.value, *g.unit), right = scaled(p.value, *p.unit);
    return same_number({&tree, left}, {&tree, right});
  }

  bool same_amount(Ref g, Ref p) {
    if (g->kind == Kind::ratio && p->kind == Kind::ratio) return same_ratios(g, p);
    if (infinite_sign(g) != 0 || infinite_sign(p) != 0) {
      return infinite_sign(g) == infinite_sign(p);
    }
    if (options_.forms == Forms::literal && plain(g) && !plain(p)) return false;
    if (options_.fractions == Fractions::reduced && lowest(g) && !lowest(p)) return false;
    if (same_expression(g, p)) return true;
    if (is_decimal(g) && is_decimal(p)) return within_tolerance(g, p);
    if (is_decimal(p)) return rounds_to(p, g, options_.digits) || within_tolerance(g, p);
    if (is_decimal(g)) return rounds_to(g, p, options_.digits) || within_tolerance(g, p);
    return false;
  }

  static bool plain(Ref a) {
    while (a->kind == Kind::negate) a = a.child(0);
    if (a->kind == Kind::number) return true;
    if (a->kind != Kind::divide && a->kind != Kind::plus) return false;
    for (int k = 0; k < a->count; ++k) {
      if (a.child(k)->kind == Kind::plus || !plain(a.child(k))) return false;
    }
    return a->kind == Kind::divide || (a->count == 2 && a.child(1)->kind == Kind::divide);
  }
  static bool lowest(Ref a) {
    while (a->kind == Kind::negate) a = a.child(0);
    if (a->kind != Kind::divide) return true;
    const Ref top = a.child(0), low = a.child(1);
    if (top->kind != Kind::number || low->kind != Kind::number) return true;
    if (!literal_value(top).denominator.one() || !literal_value(low).denominator.one()) return true;
    return gcd(literal_value(top).numerator, literal_value(low).numerator).one();
  }

  // |decimal - exact| is at most half a unit of the decimal's last place.
  static bool rounds_to(Ref decimal, Ref exact, int digits) {
    if (digits <= 0) return false;
    bool negative = false;
    while (decimal->kind == Kind::negate) {
      negative = !negative;
      decimal = decimal.child(0);
    }
    if (decimal->kind != Kind::number || decimal->id < static_cast<uint64_t>(digits)) return false;
    if (decimal->extra < 1) return false;
    const auto value = Evaluator(*exact.tree, {})(exact.index);
    if (!value || !value->real()) return false;
    if (value->re.exact && reduced(value->re.q).denominator.one()) return false;
    Rational d = literal_value(decimal);
    d.negative = negative && !d.zero();
    const Ball difference = subtract(to_ball(d, 256), to_ball(value->re, 256), 256);
    const Rational half(Natural(1),
                        power(Natural(10), static_cast<uint64_t>(decimal->extra)) * Natural(2));
    Ball size = difference;
    size.negative = false;
    return sign(subtract(size, to_ball(half, 256), 256)) <= 0;
  }

  bool within_tolerance(Ref g, Ref p) const {
    if (options_.tolerance <= 0) return false;
    const auto a = Evaluator(*g.tree, {})(g.index), b = Evaluator(*p.tree, {})(p.index);
    if (!a || !b || !a->real() || !b->real()) return false;
    Ball difference = subtract(to_ball(a->re, 256), to_ball(b->re, 256), 256);
    difference.negative = false;
    Ball size = to_ball(a->re, 256);
    size.negative = false;
    const auto scaled = static_cast<int64_t>(options_.tolerance * 1e15);
    const Rational tolerance(Natural(static_cast<uint64_t>(scaled)),
                             Natural(1'000'000'000'000'000));
    return sign(subtract(difference, multiply(size, to_ball(tolerance, 256), 256), 256)) <= 0;
  }

  const MathOptions& options_;
  int steps_ = 0;
};

std::optional<Tree> read_tree(std::string_view text) {
  auto tree = parse(text);
  if (tree && !rewrite(*tree)) return std::nullopt;
  return tree;
}

}  // namespace

Answer read_answer(std::string_view raw) {
  Answer answer;
  if (raw.size() > kMaxText) return answer;
  const std::string text = cleaned(raw);
  answer.tree = read_tree(text);
  answer.choice = choice_letter(text, false);
  answer.words = normal_words(text);
  // 1,5: also one and a half, if that is what it is compared with
  const size_t comma = text.find(',');
  if (comma != std::string::npos && text.find_first_not_of("0123456789,-") == std::string::npos &&
      text.find(',', comma + 1) == std::string::npos && comma > 0 && comma + 1 < text.size()) {
    std::string decimal = text;
    decimal[comma] = '.';
    answer.decimal = read_tree(decimal);
  }
  return answer;
}

bool usable(const Answer& reference) {
  const WorkScope scope;
  if (!reference.readable()) return false;
  if (!reference.tree || reference.tree->root < 0) return true;
  // 1/0 is written well but no number; 12:00 is a time.
  const Ref root{&*reference.tree, reference.tree->root};
  if (root->kind == Kind::ratio) return true;
  Evaluator evaluate(*reference.tree, {});
  const bool value = evaluate(root.index).has_value();
  return value || !evaluate.undefined();
}

bool same_answer(const Answer& reference, const Answer& answer, const MathOptions& options) {
  const WorkScope scope;
  const bool letter_reference =
      reference.choice != 0 &&
      (!reference.tree || (*reference.tree)[reference.tree->root].kind == Kind::symbol ||
       (*reference.tree)[reference.tree->root].kind == Kind::euler ||
       (*reference.tree)[reference.tree->root].kind == Kind::words || reference.words.size() > 1);
  if (letter_reference && answer.choice != 0) return reference.choice == answer.choice;
  if (reference.words.size() > 1 && !answer.words.empty()) {
    const auto squeezed = [](const std::string& words) {
      std::string out;
      for (char c : words) {
        if (c != ' ') out += c;
      }
      return out;
    };
    if (squeezed(reference.words) == squeezed(answer.words)) return true;
  }
  if (!reference.tree || !answer.tree) return false;
  const Ref g{&*reference.tree, reference.tree->root}, p{&*answer.tree, answer.tree->root};
  if (Comparison(options).same(g, p)) return true;
  const auto decimal_literal = [](Ref a) {
    while (a->kind == Kind::negate) a = a.child(0);
    return a->kind == Kind::number && a->extra > 0;
  };
  if (answer.decimal && decimal_literal(g)) {
    return Comparison(options).same(g, {&*answer.decimal, answer.decimal->root});
  }
  if (reference.decimal && decimal_literal(p)) {
    return Comparison(options).same({&*reference.decimal, reference.decimal->root}, p);
  }
  return false;
}

}  // namespace hone::math
