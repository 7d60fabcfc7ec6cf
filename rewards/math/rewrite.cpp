#include "rewards/math/rewrite.h"

#include <algorithm>

namespace hone::math {
namespace {

constexpr size_t kMaxNodes = 20000;
constexpr int kMaxCells = 64;  // of a product of matrices
// Products share the entries that they repeat, so that each may multiply the size of what is said.
constexpr int kMaxProducts = 2, kMaxProductTerms = 6;

bool contains(const Tree& tree, int node, Kind kind) {
  if (tree[node].kind == kind) return true;
  for (int k = 0; k < tree[node].count; ++k) {
    if (contains(tree, tree.child(node, k), kind)) return true;
  }
  return false;
}

// A copy within the tree in which every \pm has its upper (1) or lower (-1) sign.
int with_sign(Tree& tree, int node, int sign) {
  std::vector<int> parts;
  for (int k = 0; k < tree[node].count; ++k) {
    parts.push_back(with_sign(tree, tree.child(node, k), sign));
  }
  Node copy = tree[node];
  if (copy.kind != Kind::plus_minus) return tree.add(std::move(copy), parts);
  int right = parts[0];
  if (copy.extra * sign < 0) right = tree.add(Kind::negate, {right});
  return parts.size() == 1 ? right : tree.add(Kind::plus, {parts[1], right});
}

// One node, or both signs of it, appended to `out`.
void spread(Tree& tree, int node, std::vector<int>& out) {
  if (!contains(tree, node, Kind::plus_minus)) {
    out.push_back(node);
    return;
  }
  for (const int sign : {1, -1}) out.push_back(with_sign(tree, node, sign));
}

int spread_root(Tree& tree, int root) {
  const Node node = tree[root];
  std::vector<int> items;
  if (node.kind == Kind::list || node.kind == Kind::set) {
    for (int k = 0; k < node.count; ++k) spread(tree, tree.child(root, k), items);
    return tree.add(node.kind, items);
  }
  if (node.kind == Kind::chain && node.count == 2 && (*node.text.data() == kIn)) {  // x \in {..}
    return root;
  }
  spread(tree, root, items);
  return items.size() == 1 ? items[0] : tree.add(Kind::list, items);
}

// The node with the arithmetic of matrices below it carried out, or -1.
int fold(Tree& tree, int node, int& products) {
  if (!contains(tree, node, Kind::matrix) || tree[node].kind == Kind::matrix) return node;
  std::vector<int> parts;
  for (int k = 0; k < tree[node].count; ++k) {
    parts.push_back(fold(tree, tree.child(node, k), products));
    if (parts.back() < 0) return -1;
  }
  const Kind kind = tree[node].kind;
  const auto cells = [&](int m) {
    std::vector<int> out;
    for (int k = 0; k < tree[m].count; ++k) out.push_back(tree.child(m, k));
    return out;
  };
  const auto matrix = [&](int columns, const std::vector<int>& entries) {
    Node made;
    made.kind = Kind::matrix;
    made.extra = columns;
    return tree.add(std::move(made), entries);
  };
  if (kind != Kind::plus && kind != Kind::times && kind != Kind::negate && kind != Kind::divide) {
    Node copy = tree[node];
    return tree.add(std::move(copy), parts);
  }
  int left = parts[0];
  if (kind == Kind::negate) {
    std::vector<int> entries = cells(left);
    for (int& e : entries) e = tree.add(Kind::negate, {e});
    return matrix(tree[left].extra, entries);
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    const int right = parts[i];
    const bool a = tree[left].kind == Kind::matrix, b = tree[right].kind == Kind::matrix;
    if (!a && !b) {
      left = tree.add(kind, {left, right});
      continue;
    }
    std::vector<int> x = a ? cells(left) : std::vector<int>{};
    std::vector<int> y = b ? cells(right) : std::vector<int>{};
    const int x_columns = tree[left].extra, y_columns = tree[right].extra;
    if (a != b) {  // a scalar
      if (kind == Kind::plus || (kind == Kind::divide && b)) return -1;
      std::vector<int>& entries = a ? x : y;
      for (int& e : entries) e = tree.add(kind, {e, a ? right : left});
      left = matrix(a ? x_columns : y_columns, entries);
      continue;
    }
    if (kind == Kind::plus) {
      if (x.size() != y.size() || x_columns != y_columns) return -1;
      for (size_t k = 0; k < x.size(); ++k) x[k] = tree.add(Kind::plus, {x[k], y[k]});
      left = matrix(x_columns, x);
      continue;
    }
    const int rows = static_cast<int>(x.size()) / x_columns;
    if (kind != Kind::times || x_columns * y_columns != static_cast<int>(y.size()) ||
        rows * y_columns > kMaxCells || x_columns > kMaxProductTerms || ++products > kMaxProducts) {
      return -1;
    }
    std::vector<int> product;
    for (int r = 0; r < rows; ++r) {
      for (int c = 0; c < y_columns; ++c) {
        std::vector<int> terms;
        for (int k = 0; k < x_columns; ++k) {
          terms.push_back(tree.add(Kind::times, {x[static_cast<size_t>(r * x_columns + k)],
                                                 y[static_cast<size_t>(k * y_columns + c)]}));
        }
        product.push_back(tree.add(Kind::plus, terms));
      }
    }
    left = matrix(y_columns, product);
    if (tree.nodes.size() > kMaxNodes) return -1;
  }
  return left;
}

}  // namespace

int copy_into(Tree& to, Ref from) {
  std::vector<int> parts;
  for (int k = 0; k < from->count; ++k) parts.push_back(copy_into(to, from.child(k)));
  Node copy = *from;
  if (copy.value >= 0) {
    to.values.push_back(from.tree->values[static_cast<size_t>(copy.value)]);
    copy.value = static_cast<int>(to.values.size()) - 1;
  }
  return to.add(std::move(copy), parts);
}

bool rewrite(Tree& tree) {
  int products = 0;
  if (contains(tree, tree.root, Kind::matrix)) tree.root = fold(tree, tree.root, products);
  if (tree.root < 0) return false;
  if (contains(tree, tree.root, Kind::plus_minus)) tree.root = spread_root(tree, tree.root);
  return tree.nodes.size() <= kMaxNodes;
}

}  // namespace hone::math
