// Values that cross the sandbox's wall, as JSON that keeps apart what plain JSON merges.
//
//   null, true, false, "text", [list]
//   17                       an integer of at most 53 bits
//   {"i": "-9007199254740993"}   an integer of any size
//   {"f": "0.1"}             a float as Python's repr writes it, also "inf", "-inf", "nan"
//   {"t": [...]}             tuple
//   {"d": [[key, value], ...]}   dict, in its order
//   {"s": [...]}  {"z": [...]}   set, frozenset
//   {"b": "00ff"}            bytes
//   {"c": ["1.0", "-2.5"]}   complex: the two floats
//
// An object of any other form is not a value. "Tagged" below means this form.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace hone {

// Containers within each other, and bytes of text, beyond which nothing is read.
constexpr int kMaxValueDepth = 300;
constexpr size_t kMaxValueBytes = size_t{16} << 20;

// One tagged value as an untrusted process wrote it, checked in every part; nothing if it is not
// one. Safe on any bytes.
std::optional<Json> read_value(std::string_view text);

// Plain JSON as tagged: objects become dicts with text keys. An integer beyond 64 bits has become a
// float in the plain JSON already; as text (read_literal) it would be exact. Throws
// std::invalid_argument if it is nested deeper than kMaxValueDepth.
Json tagged(const Json& plain);

// The pieces that a reader of values makes.
Json tagged_integer(std::string digits);  // decimal digits after an optional minus
Json tagged_float(double value);

// The entry `key` of a tagged dict, or null if it has none or `value` is no dict.
const Json* dict_entry(const Json& value, std::string_view key);

// The tag of an object ('i', 'f', 't', ...); 0 for what has none. REQUIRES: a tagged value.
char tag_of(const Json& value);
// What stands behind the tag. REQUIRES: tag_of(value) != 0.
const Json& untagged(const Json& value);

// The whole text as a float in Python's or JSON's spelling.
std::optional<double> parse_float(std::string_view text);

}  // namespace hone
