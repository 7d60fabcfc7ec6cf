#include "text/normalizers.h"

#include "text/byte_level.h"
#include "text/utf8.h"

namespace hone {
namespace {

std::string_view without_spaces(std::string_view text, const StripSpaces& strip) {
  while (strip.left && !text.empty() && is_white_space(first_code_point(text))) {
    text.remove_prefix(utf8_step(text).length);
  }
  while (strip.right && !text.empty()) {
    size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    if (!is_white_space(first_code_point(text.substr(begin)))) break;
    text.remove_suffix(text.size() - begin);
  }
  return text;
}

std::string apply(const Normalizer& step, std::string text) {
  if (const auto* form = std::get_if<NormalForm>(&step)) return normalized(text, *form);
  if (std::holds_alternative<LowerCase>(step)) return lower_case(text);
  if (std::holds_alternative<StripMarks>(step)) return without_marks(text);
  if (std::holds_alternative<ByteLevelText>(step)) return bytes_as_characters(text);
  if (const auto* replace = std::get_if<Replace>(&step)) {
    return replace->pattern.replaced(text, replace->content);
  }
  if (const auto* strip = std::get_if<StripSpaces>(&step)) {
    return std::string(without_spaces(text, *strip));
  }
  return text.empty() ? text : std::get<Prepend>(step).text + text;
}

}  // namespace

void read_normalizer(const JsonField& field, std::vector<Normalizer>& out) {
  const std::string type = field.at("type").text();
  const auto needs_unicode = [&] {
    if (has_unicode_library()) return;
    throw UserError(cat(field.where, ": the normalizer ", type, " needs utf8proc, and this hone ",
                        "was built without it; install libutf8proc-dev and build again "
                        "(scripts/setup)"));
  };
  static const std::vector<std::pair<std::string, Normalizer>> with_unicode = {
      {"NFC", NormalForm::nfc},   {"NFD", NormalForm::nfd},   {"NFKC", NormalForm::nfkc},
      {"NFKD", NormalForm::nfkd}, {"Lowercase", LowerCase{}}, {"StripAccents", StripMarks{}}};
  for (const auto& [name, step] : with_unicode) {
    if (name != type) continue;
    needs_unicode();
    out.push_back(step);
    return;
  }
  if (type == "Sequence") {
    for (const JsonField& item : field.at("normalizers").items()) read_normalizer(item, out);
  } else if (type == "Replace") {
    out.push_back(Replace{Pattern(field.at("pattern")), field.at("content").text()});
  } else if (type == "Prepend") {
    out.push_back(Prepend{field.at("prepend").text()});
  } else if (type == "Strip") {
    out.push_back(
        StripSpaces{field.boolean_or("strip_left", false), field.boolean_or("strip_right", false)});
  } else if (type == "ByteLevel") {
    out.push_back(ByteLevelText{});
  } else {
    throw UserError(cat(field.where, ": the normalizer '", type,
                        "' is not supported; known are NFC, NFD, NFKC, NFKD, Lowercase, "
                        "StripAccents, Replace, Prepend, Strip, ByteLevel and Sequence"));
  }
}

std::string normalize(const std::vector<Normalizer>& steps, std::string_view text) {
  std::string out(text);
  for (const Normalizer& step : steps) out = apply(step, std::move(out));
  return out;
}

}  // namespace hone
