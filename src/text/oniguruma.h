// Hugging Face's tokenizers match with Oniguruma in its Ruby syntax; hone matches with PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace hone {

// The PCRE2 pattern (for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE) that matches what `pattern` does
// in Oniguruma. Properties are those of Unicode 16, which Oniguruma 6.9.10 has, also where PCRE2's
// tables are older. Throws UserError, which begins with `where`, for what is not translated.
std::string pcre2_from_oniguruma(std::string_view pattern, const std::string& where);

}  // namespace hone
