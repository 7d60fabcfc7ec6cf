#include "train/conversation.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

namespace hone {
namespace {

using Spans = std::vector<std::pair<size_t, size_t>>;  // bytes of the text

// Where the marked messages stand, for a template that does not say so itself.
Spans spans_by_prefix(const ChatTemplate& form, const Document& d, const std::string& text) {
  Spans spans;
  const auto begins_text = [&](const std::string& part) {
    return std::string_view(text).starts_with(part);
  };
  Json before = Json::array();
  for (size_t i = 0; i < d.messages.size(); ++i) {
    if (d.learn[i]) {
      const std::string asked = form.render(before, {{"add_generation_prompt", true}}).text;
      Json with = before;
      with.push_back(d.messages[i]);
      const std::string said =
          i + 1 == d.messages.size() ? text : form.render(with, Json::object()).text;
      if (begins_text(asked) && begins_text(said)) spans.emplace_back(asked.size(), said.size());
    }
    before.push_back(d.messages[i]);
  }
  return spans;
}

// How many tokens of `ids` lie before byte `at` of the text.
size_t tokens_before(const Tokenizer& tokenizer, const std::vector<int32_t>& ids,
                     const std::string& text, size_t at) {
  const std::vector<int32_t> front = tokenizer.encode(std::string_view(text).substr(0, at));
  const size_t n = std::min(front.size(), ids.size());
  return static_cast<size_t>(
      std::mismatch(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(n), front.begin())
          .first -
      ids.begin());
}

}  // namespace

LearnedTokens render_conversation(const ChatTemplate& form, const Tokenizer& tokenizer,
                                  const Document& d) {
  const RenderedChat chat = form.render(d.messages, Json::object());
  bool all = true;  // of the assistant's messages are marked: then the template's blocks will do
  for (size_t i = 0; i < d.messages.size(); ++i) {
    all = all && (d.learn[i] || d.messages[i].value("role", "") != "assistant");
  }
  const Spans spans =
      all && !chat.generated.empty() ? chat.generated : spans_by_prefix(form, d, chat.text);
  LearnedTokens out;
  out.ids = tokenizer.encode(chat.text);
  out.learn.assign(out.ids.size(), 0);
  for (const auto& [begin, end] : spans) {
    const size_t last = tokens_before(tokenizer, out.ids, chat.text, end);
    for (size_t t = tokens_before(tokenizer, out.ids, chat.text, begin); t < last; ++t) {
      out.learn[t] = 1;
    }
  }
  return out;
}

}  // namespace hone
