#include "rewards/math/sets.h"

#include <algorithm>

#include "rewards/math/rewrite.h"

namespace hone::math {
namespace {

constexpr size_t kMaxPieces = 40;

std::optional<int> compare_ends(const End& a, const End& b) {
  if (a.infinite != 0 || b.infinite != 0) {
    return a.infinite == b.infinite ? 0 : a.infinite < b.infinite ? -1 : 1;
  }
  if (a.minus || b.minus) {  // rare enough to write it out
    Tree tree;
    const auto written = [&](const End& end) {
      const int copy = copy_into(tree, end.at);
      return end.minus ? tree.add(Kind::negate, {copy}) : copy;
    };
    const int left = written(a), right = written(b);
    return compare_ends({0, {&tree, left}, false}, {0, {&tree, right}, false});
  }
  const auto order = order_of(a.at, b.at);
  if (order && *order == 0 && !same_number(a.at, b.at)) return std::nullopt;
  return order;
}

End end_of(Ref a) {
  if (a->kind == Kind::infinity) return {1, a, false};
  if (a->kind == Kind::negate && a.child(0)->kind == Kind::infinity) return {-1, a, false};
  return {0, a, false};
}
const End kMinus{-1, {}, false}, kPlus{1, {}, false};

// In order and merged where they touch.
std::optional<RealSet> normal(RealSet set) {
  if (set.size() > kMaxPieces) return std::nullopt;
  bool ordered = true;
  // Insertion sort: the order may be unknown, which no library sort would bear.
  for (size_t i = 1; i < set.size(); ++i) {
    for (size_t j = i; j > 0; --j) {
      const auto order = compare_ends(set[j].low, set[j - 1].low);
      if (!order) ordered = false;
      if (!order || *order > 0 || (*order == 0 && !(set[j].low_closed && !set[j - 1].low_closed))) {
        break;
      }
      std::swap(set[j], set[j - 1]);
    }
  }
  if (!ordered) return std::nullopt;
  RealSet out;
  for (Piece& piece : set) {
    const auto width = compare_ends(piece.low, piece.high);
    if (!width) return std::nullopt;
    if (*width > 0 || (*width == 0 && !(piece.low_closed && piece.high_closed))) {
      return std::nullopt;  // an empty interval is a slip of the pen
    }
    if (!out.empty()) {
      const auto gap = compare_ends(piece.low, out.back().high);
      if (!gap) return std::nullopt;
      if (*gap < 0 || (*gap == 0 && (piece.low_closed || out.back().high_closed))) {
        const auto reach = compare_ends(piece.high, out.back().high);
        if (!reach) return std::nullopt;
        if (*reach > 0) {
          out.back().high = piece.high;
          out.back().high_closed = piece.high_closed;
        } else if (*reach == 0) {
          out.back().high_closed = out.back().high_closed || piece.high_closed;
        }
        continue;
      }
    }
    out.push_back(piece);
  }
  return out;
}

bool positive(Ref a) {
  const auto value = Evaluator(*a.tree, {})(a.index);
  return value && value->real() && sign(value->re) > 0;
}

std::optional<RealSet> inequality(Ref a) {
  const std::string& ops = a->text;
  const auto variable = [](Ref r) { return r->kind == Kind::symbol; };
  const auto constant = [](Ref r) { return symbols_of(r).empty(); };
  const auto below = [](char op) { return op == kLess || op == kLessEqual; };
  const auto above = [](char op) { return op == kGreater || op == kGreaterEqual; };
  const auto closed = [](char op) { return op == kLessEqual || op == kGreaterEqual; };
  if (a->count == 2) {
    char op = ops[0];
    Ref x = a.child(0), c = a.child(1);
    if (!constant(c) && constant(x)) {
      std::swap(x, c);
      if (below(op) || above(op)) {
        op = op == kLess      ? kGreater
             : op == kGreater ? kLess
             : below(op)      ? kGreaterEqual
                              : kLessEqual;
      }
    }
    if (!constant(c)) return std::nullopt;
    const End at = end_of(c);
    if (x->kind == Kind::magnitude && variable(x.child(0)) && at.infinite == 0 && positive(c)) {
      const End minus{0, c, true};
      if (below(op)) return RealSet{{minus, at, closed(op), closed(op)}};
      if (above(op))
        return RealSet{{kMinus, minus, false, closed(op)}, {at, kPlus, closed(op), false}};
    }
    if (!variable(x)) return std::nullopt;
    if (below(op)) return RealSet{{kMinus, at, false, closed(op)}};
    if (above(op)) return RealSet{{at, kPlus, closed(op), false}};
    if (op == kNotEqual) return RealSet{{kMinus, at, false, false}, {at, kPlus, false, false}};
    return std::nullopt;
  }
  if (a->count != 3) return std::nullopt;
  Ref low = a.child(0), high = a.child(2);
  const bool magnitude = a.child(1)->kind == Kind::magnitude && variable(a.child(1).child(0));
  if (!(variable(a.child(1)) || magnitude) || !constant(low) || !constant(high)) {
    return std::nullopt;
  }
  char first = ops[0], second = ops[1];
  if (above(first) && above(second)) {
    std::swap(low, high);
    std::swap(first, second);
  } else if (!below(first) || !below(second)) {
    return std::nullopt;
  }
  if (magnitude) {  // 1 <= |x| <= 2
    if (!positive(low)) return std::nullopt;
    const End a{0, low, false}, b{0, high, false};
    const End minus_a{0, low, true}, minus_b{0, high, true};
    return RealSet{{minus_b, minus_a, closed(second), closed(first)},
                   {a, b, closed(first), closed(second)}};
  }
  return RealSet{{end_of(low), end_of(high), closed(first), closed(second)}};
}

std::optional<RealSet> pieces(Ref a, int depth) {
  if (depth > 8) return std::nullopt;
  switch (a->kind) {
    case Kind::tuple: {
      if (a->count != 2 || a->text.find('<') != std::string::npos) return std::nullopt;
      if (!symbols_of(a).empty()) return std::nullopt;
      return RealSet{
          {end_of(a.child(0)), end_of(a.child(1)), a->text[0] == '[', a->text[1] == ']'}};
    }
    case Kind::reals:
      return RealSet{{kMinus, kPlus, false, false}};
    case Kind::empty_set:
      return RealSet{};
    case Kind::set: {
      RealSet out;
      for (int k = 0; k < a->count; ++k) {
        const End at = end_of(a.child(k));
        if (at.infinite != 0 || !symbols_of(a.child(k)).empty()) return std::nullopt;
        out.push_back({at, at, true, true});
      }
      return out;
    }
    case Kind::list: {  // x < 1 or x > 2: all of one variable
      RealSet out;
      std::optional<uint64_t> variable;
      for (int k = 0; k < a->count; ++k) {
        const Ref item = a.child(k);
        if (item->kind != Kind::chain) return std::nullopt;
        const auto symbols = symbols_of(item);
        if (symbols.size() != 1 || (variable && *variable != symbols[0])) return std::nullopt;
        variable = symbols[0];
        const auto part = pieces(item, depth + 1);
        if (!part) return std::nullopt;
        out.insert(out.end(), part->begin(), part->end());
      }
      return out;
    }
    case Kind::join: {
      auto left = pieces(a.child(0), depth + 1), right = pieces(a.child(1), depth + 1);
      if (!left || !right) return std::nullopt;
      left->insert(left->end(), right->begin(), right->end());
      return left;
    }
    case Kind::without: {  // only single points are taken out
      auto left = pieces(a.child(0), depth + 1);
      const auto holes = pieces(a.child(1), depth + 1);
      if (!left || !holes) return std::nullopt;
      for (const Piece& hole : *holes) {
        if (hole.low.at.index != hole.high.at.index || !hole.low_closed) return std::nullopt;
        for (size_t k = 0; k < left->size() && left->size() < kMaxPieces; ++k) {
          Piece& piece = (*left)[k];
          const auto low = compare_ends(piece.low, hole.low),
                     high = compare_ends(hole.low, piece.high);
          if (!low || !high) return std::nullopt;
          if (*low == 0) piece.low_closed = false;
          if (*high == 0) piece.high_closed = false;
          if (*low < 0 && *high < 0) {
            Piece rest = piece;
            piece.high = rest.low = hole.low;
            piece.high_closed = rest.low_closed = false;
            left->insert(left->begin() + static_cast<std::ptrdiff_t>(k) + 1, rest);
            ++k;
          }
        }
      }
      return left;
    }
    case Kind::chain:
      if (a->count == 2 && a->text[0] == kIn) {
        return a.child(0)->kind == Kind::symbol ? pieces(a.child(1), depth + 1) : std::nullopt;
      }
      return inequality(a);
    default:
      return std::nullopt;
  }
}

}  // namespace

std::optional<RealSet> real_set(Ref a) {
  auto set = pieces(a, 0);
  return set ? normal(std::move(*set)) : std::nullopt;
}

bool same_set(const RealSet& a, const RealSet& b) {
  if (a.size() != b.size()) return false;
  for (size_t k = 0; k < a.size(); ++k) {
    if (a[k].low_closed != b[k].low_closed || a[k].high_closed != b[k].high_closed) return false;
    const auto low = compare_ends(a[k].low, b[k].low), high = compare_ends(a[k].high, b[k].high);
    if (!low || !high || *low != 0 || *high != 0) return false;
  }
  return true;
}

}  // namespace hone::math
