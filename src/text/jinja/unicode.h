// What Python's str knows of characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hone::jinja {

// Reads the code point at `at` and moves on; a byte that is not UTF-8 counts as one code point.
char32_t next_code_point(std::string_view text, size_t& at);
void append_code_point(std::string& text, char32_t c);
// As Python's repr writes what it does not show: \xe9, \u4e2d, \U0001f642.
void append_escape(std::string& text, char32_t c);
int64_t count_code_points(std::string_view text);
// The byte where code point `index` begins; the text's size if there are fewer.
size_t byte_of(std::string_view text, int64_t index);

bool is_space(char32_t c);
bool is_line_break(char32_t c);  // for splitlines
bool is_printable(char32_t c);   // for repr
bool is_alpha(char32_t c);
bool is_digit(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
char32_t to_upper(char32_t c);
char32_t to_lower(char32_t c);

std::string upper(std::string_view text);
std::string lower(std::string_view text);

// Without white space at the ends.
std::string_view strip_left(std::string_view text);
std::string_view strip_right(std::string_view text);

}  // namespace hone::jinja
