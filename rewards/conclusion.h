// What a text without marked answer comes to: the sentence that announces the answer, and what a
// sentence concludes. Lenient about wording, strict about there being one clear thing.
#pragma once

#include <string_view>

namespace hone {

// The sentence after the last "answer:" or the like near the end of the text, "" without one.
std::string_view stated_answer(std::string_view text);

// What the last sentence of a text comes to: its last formula, its emphasised number, what stands
// after its last "=", or its only number if the sentence concludes ("so", "is", ...) or `announced`
// says that it does. "" if it is not one clear thing, or if the sentence takes it back ("it is not
// 42", "at most 42", "is it 42?").
std::string_view conclusion(std::string_view text, bool announced);

// Whether what stands between two boxes or formulas makes them one list: "and", "or", commas.
bool connects(std::string_view between);

// The text up to the marker of a next turn, which a model writes that goes on after its own.
std::string_view without_next_turn(std::string_view text);

}  // namespace hone
