// Unicode normal forms and case, as Hugging Face's normalizers have them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hone {

// Appends the UTF-8 of a code point.
void append_utf8(std::string& out, uint32_t c);
// The code point that `s` begins with. REQUIRES: s is UTF-8 and not empty.
uint32_t first_code_point(std::string_view s);
// White_Space of Unicode: what \s means in these files.
bool is_white_space(uint32_t c);

enum class NormalForm { nfc, nfd, nfkc, nfkd };

// False where hone was built without utf8proc; then the functions below must not be called.
bool has_unicode_library();

// REQUIRES of all: text is UTF-8.
std::string normalized(std::string_view text, NormalForm form);
std::string lower_case(std::string_view text);
std::string without_marks(std::string_view text);  // general category M

}  // namespace hone
