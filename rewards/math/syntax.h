// What an answer says, as a tree. Nodes live in one array and refer to each other by index, so a
// tree is cheap to make and its depth and size are bounded by the parser.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rewards/rational.h"

namespace hone::math {

enum class Kind : uint8_t {
  number,      // literal: value; in `extra` the digits after the point, -1 without a point; in
               // `id` its significant digits
  symbol,      // a variable: hash of its name in `id`, name in text
  pi,          //
  euler,       // e
  imaginary,   // i
  infinity,    //
  negate,      // a
  plus,        // sum of all
  times,       // product of all
  divide,      // a / b
  power,       // a ^ b
  root,        // a, of degree b (absent: square root)
  call,        // function `id` (Function) of a; b: base of log
  factorial,   // a
  binomial,    // a over b
  magnitude,   // |a|
  floor,       //
  ceiling,     //
  plus_minus,  // b absent: +-a; else a +- b. extra: 1 for +-, -1 for -+
  percent,     // a %
  degrees,     // a degrees
  based,       // digits in text, base in extra
  opaque,      // sums, integrals, limits: never evaluated; operator in id, parts are children
  ellipsis,    //
  unit,        // a (absent: 1) of the unit in text (canonical words)
  ratio,       // a : b : ...
  tuple,       // open and close brackets in text, e.g. "(]"
  set,         // { }
  list,        // separated by commas, "and", "or", line ends
  matrix,      // children row by row; extra: columns
  chain,       // a op b op c ...: operands are children, operators (Relation) the bytes of text
  join,        // union
  meet,        // intersection
  without,     // set difference
  reals,       // the real numbers
  empty_set,   //
  words,       // text as text
};

enum Function : uint8_t {
  kSin,
  kCos,
  kTan,
  kCot,
  kSec,
  kCsc,
  kArcsin,
  kArccos,
  kArctan,
  kSinh,
  kCosh,
  kTanh,
  kLog,
  kLn,
  kExp
};

// Operators of relations, as they stand in the text of a chain.
enum Relation : char {
  kEqual = '=',
  kNotEqual = '#',
  kLess = '<',
  kLessEqual = 'l',
  kGreater = '>',
  kGreaterEqual = 'g',
  kApprox = '~',
  kIn = 'e',
  kOther = '?'
};

struct Node {
  Kind kind = Kind::words;
  int extra = 0;
  uint64_t id = 0;           // hash of a symbol's name, or a Function or operator
  int first = 0, count = 0;  // children: Tree::children[first .. first + count)
  int value = -1;            // of a number: index into Tree::values
  std::string text;
};

struct Tree {
  std::vector<Node> nodes;
  std::vector<int> children;
  std::vector<Rational> values;
  int root = -1;

  const Node& operator[](int i) const { return nodes[static_cast<size_t>(i)]; }
  int child(int i, int k) const { return children[static_cast<size_t>((*this)[i].first + k)]; }
  int add(Node node, const std::vector<int>& parts = {}) {
    node.first = static_cast<int>(children.size());
    node.count = static_cast<int>(parts.size());
    children.insert(children.end(), parts.begin(), parts.end());
    nodes.push_back(std::move(node));
    return static_cast<int>(nodes.size()) - 1;
  }
  int add(Kind kind, const std::vector<int>& parts = {}, uint64_t id = 0) {
    Node node;
    node.kind = kind;
    node.id = id;
    return add(std::move(node), parts);
  }
};

constexpr uint64_t hash_name(std::string_view name) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace hone::math
