#include "text/decoders.h"

#include "text/byte_level.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace hone {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

std::optional<char> named_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return std::nullopt;
    value = value * 16 + digit;
  }
  return static_cast<char>(value);
}

std::string text_of_bytes(const std::string& bytes) {
  const std::string valid = valid_utf8(bytes);
  if (valid == bytes) return bytes;
  std::string out;
  for (size_t i = 0; i < bytes.size(); ++i) out += kReplacement;
  return out;
}

std::string replaced(std::string_view text, std::string_view what, std::string_view by) {
  std::string out;
  while (!text.empty()) {
    const bool here = !what.empty() && text.starts_with(what);
    const std::string_view part = here ? what : text.substr(0, 1);
    out += here ? by : part;
    text.remove_prefix(part.size());
  }
  return out;
}

std::string stripped(std::string_view text, const StripEnds& strip) {
  for (int32_t i = 0; i < strip.start && text.starts_with(strip.content); ++i) {
    text.remove_prefix(strip.content.size());
  }
  for (int32_t i = 0; i < strip.stop && text.ends_with(strip.content); ++i) {
    text.remove_suffix(strip.content.size());
  }
  return std::string(text);
}

}  // namespace

void read_decoder(const JsonField& field, std::vector<DecoderStep>& out) {
  const std::string type = field.at("type").text();
  if (type == "Sequence") {
    for (const JsonField& item : field.at("decoders").items()) read_decoder(item, out);
  } else if (type == "ByteLevel") {
    out.push_back(BytesFromCharacters{});
  } else if (type == "Replace") {
    out.push_back(ReplaceInTokens{Pattern(field.at("pattern")), field.at("content").text()});
  } else if (type == "Metaspace") {
    const std::string scheme = field.text_or(
        "prepend_scheme", field.boolean_or("add_prefix_space", true) ? "always" : "never");
    out.push_back(SpaceFromSign{field.text_or("replacement", "\xE2\x96\x81"), scheme != "never"});
  } else if (type == "ByteFallback") {
    out.push_back(BytesFromNames{});
  } else if (type == "Fuse") {
    out.push_back(Fuse{});
  } else if (type == "Strip") {
    const JsonField content = field.at("content");
    const std::string& text = content.text();
    if (text.empty() || utf8_step(text).length != text.size()) content.fail("one character");
    out.push_back(StripEnds{text, field.at("start").number(), field.at("stop").number()});
  } else if (type == "BPEDecoder") {
    out.push_back(SpaceFromSuffix{field.text_or("suffix", "</w>")});
  } else {
    throw UserError(cat(field.where, ": the decoder '", type,
                        "' is not supported; known are ByteLevel, Replace, Metaspace, "
                        "ByteFallback, Fuse, Strip, BPEDecoder and Sequence"));
  }
}

std::string bytes_inside_text(const std::vector<DecoderStep>& steps, const std::string& token) {
  std::string text = token;
  for (const DecoderStep& step : steps) {
    if (std::holds_alternative<BytesFromCharacters>(step)) {
      if (auto bytes = characters_as_bytes(text)) text = std::move(*bytes);
    } else if (const auto* replace = std::get_if<ReplaceInTokens>(&step)) {
      text = replace->pattern.replaced(text, replace->content);
    } else if (const auto* space = std::get_if<SpaceFromSign>(&step)) {
      text = replaced(text, space->sign, " ");
    } else if (const auto* suffix = std::get_if<SpaceFromSuffix>(&step)) {
      text = replaced(text, suffix->suffix, " ");
    } else if (const auto* strip = std::get_if<StripEnds>(&step)) {
      text = stripped(text, *strip);
    } else if (std::holds_alternative<JoinBySpaces>(step)) {
      text += ' ';
    } else if (std::holds_alternative<Fuse>(step)) {
      break;  // what follows changes only the ends of the text
    } else if (const auto byte = named_byte(text)) {
      return std::string(1, *byte);  // no UTF-8 that a later step could look at
    }
  }
  return text;
}

TokenDecoder::TokenDecoder(const std::vector<DecoderStep>& steps) {
  bool fragments = false;
  for (size_t i = 0; i < steps.size(); ++i) {
    Stage stage;
    stage.step = &steps[i];
    stage.fragments = fragments;
    if (const auto* strip = std::get_if<StripEnds>(&steps[i])) stage.to_strip = strip->start;
    if (std::holds_alternative<Fuse>(steps[i]) ||
        std::holds_alternative<BytesFromCharacters>(steps[i])) {
      fragments = true;
      for (size_t j = i + 1; j < steps.size(); ++j) {
        if (!std::holds_alternative<StripEnds>(steps[j])) stage.collects = true;
      }
      if (stage.collects) fragments = false;
    }
    stages_.push_back(std::move(stage));
  }
}

std::string TokenDecoder::push(const std::string& token) {
  std::string out;
  feed(0, token, out);
  return out;
}

std::string TokenDecoder::finish() {
  std::string out;
  end(0, out);
  return out;
}

void TokenDecoder::feed(size_t index, const std::string& piece, std::string& out) {
  if (index == stages_.size()) {
    out += piece;
    return;
  }
  Stage& stage = stages_[index];
  const DecoderStep& step = *stage.step;
  if (std::holds_alternative<BytesFromCharacters>(step)) {
    const auto bytes = characters_as_bytes(piece);
    stage.held += bytes ? *bytes : piece;
    if (stage.collects) return;
    feed(index + 1, take_valid_utf8(stage.held), out);
  } else if (const auto* replace = std::get_if<ReplaceInTokens>(&step)) {
    feed(index + 1, replace->pattern.replaced(piece, replace->content), out);
  } else if (const auto* space = std::get_if<SpaceFromSign>(&step)) {
    const bool drop = stage.first && space->drop_first;
    stage.first = false;
    feed(index + 1, replaced(piece, space->sign, drop ? "" : " "), out);
  } else if (std::holds_alternative<BytesFromNames>(step)) {
    if (const auto byte = named_byte(piece)) {
      stage.held += *byte;
      return;
    }
    if (!stage.held.empty()) feed(index + 1, text_of_bytes(stage.held), out);
    stage.held.clear();
    feed(index + 1, piece, out);
  } else if (std::holds_alternative<Fuse>(step)) {
    if (stage.collects) {
      stage.held += piece;
    } else {
      feed(index + 1, piece, out);
    }
  } else if (const auto* strip = std::get_if<StripEnds>(&step)) {
    if (!stage.fragments) return feed(index + 1, stripped(piece, *strip), out);
    stage.held += piece;
    std::string_view text = stage.held;
    while (stage.to_strip > 0 && text.starts_with(strip->content)) {
      text.remove_prefix(strip->content.size());
      --stage.to_strip;
    }
    if (!text.empty()) stage.to_strip = 0;
    size_t keep = 0;  // bytes at the end that may yet be stripped
    for (int32_t i = 0; i < strip->stop; ++i) {
      if (!text.substr(0, text.size() - keep).ends_with(strip->content)) break;
      keep += strip->content.size();
    }
    const std::string ready(text.substr(0, text.size() - keep));
    stage.held = std::string(text.substr(text.size() - keep));
    if (!ready.empty()) feed(index + 1, ready, out);
  } else if (const auto* suffix = std::get_if<SpaceFromSuffix>(&step)) {
    // The last token's suffix is no space, so each waits for the next.
    if (!stage.first) feed(index + 1, replaced(stage.held, suffix->suffix, " "), out);
    stage.first = false;
    stage.held = piece;
  } else {
    feed(index + 1, stage.first ? piece : " " + piece, out);
    stage.first = false;
  }
}

void TokenDecoder::end(size_t index, std::string& out) {
  if (index == stages_.size()) return;
  Stage& stage = stages_[index];
  const DecoderStep& step = *stage.step;
  if (const auto* suffix = std::get_if<SpaceFromSuffix>(&step)) {
    if (!stage.first) feed(index + 1, replaced(stage.held, suffix->suffix, ""), out);
  } else if (std::holds_alternative<BytesFromNames>(step)) {
    if (!stage.held.empty()) feed(index + 1, text_of_bytes(stage.held), out);
  } else if (std::holds_alternative<BytesFromCharacters>(step)) {
    if (stage.collects || !stage.held.empty()) feed(index + 1, valid_utf8(stage.held), out);
  } else if (std::holds_alternative<Fuse>(step)) {
    if (stage.collects) feed(index + 1, stage.held, out);
  }
  // What a StripEnds still holds is stripped.
  stage.held.clear();
  end(index + 1, out);
}

}  // namespace hone
