// Text into HTML. What a model wrote is data: nothing in it may become markup, script, or an
// invisible or reordering character.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hone {

// Escaped for element content and quoted attributes.
std::string html_escape(std::string_view text);

// A model's text for people: escaped; control characters as their pictures (U+2400 ...), invisible
// and bidirectional ones as U+XXXX in a box, bytes that are not UTF-8 as U+FFFD; newlines stay.
// Texts over `limit` bytes keep their two ends.
std::string html_visible(std::string_view text, size_t limit = 6000);

// A completion: its thinking folded into <details>, its answer after it. `prompt` tells whether
// the thinking was opened there.
std::string html_completion(std::string_view text, std::string_view prompt);

// Numbers for people: 1234567 -> 1,234,567; 0.03125 -> 0.0312; percent: 0.9618 -> 96.2%.
std::string format_count(int64_t n);
std::string format_number(double x);
std::string format_percent(double x);
std::string format_seconds(double seconds);

}  // namespace hone
