#include "text/pre_tokenizers.h"

#include "text/byte_level.h"

namespace hone {
namespace {

// openai/gpt-2, src/encoder.py
constexpr char kGpt2[] =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// The punctuation of Rust's unicode_categories crate, whose tables are older (Unicode 8) than those
// of Oniguruma: ASCII symbols too, and not these.
constexpr char kPunctuation[] =
    R"([[\p{P}!-/:-@\[-`{-~\x{166D}\x{111C9}]&&[^)"
    R"(\x{61D}\x{9FD}\x{A76}\x{C77}\x{C84}\x{1B4E}-\x{1B4F}\x{1B7D}-\x{1B7F})"
    R"(\x{2E43}-\x{2E4F}\x{2E52}-\x{2E5D}\x{10D6E}\x{10EAD}\x{10F55}-\x{10F59})"
    R"(\x{10F86}-\x{10F89}\x{113D4}-\x{113D5}\x{113D7}-\x{113D8}\x{1144B}-\x{1144F})"
    R"(\x{1145A}-\x{1145B}\x{1145D}\x{11660}-\x{1166C}\x{116B9}\x{1183B}\x{11944}-\x{11946})"
    R"(\x{119E2}\x{11A3F}-\x{11A46}\x{11A9A}-\x{11A9C}\x{11A9E}-\x{11AA2})"
    R"(\x{11B00}-\x{11B09}\x{11BE1}\x{11C41}-\x{11C45}\x{11C70}-\x{11C71})"
    R"(\x{11EF7}-\x{11EF8}\x{11F43}-\x{11F4F}\x{11FFF}\x{12FF1}-\x{12FF2})"
    R"(\x{16D6D}-\x{16D6F}\x{16E97}-\x{16E9A}\x{16FE2}\x{1E5FF}\x{1E95E}-\x{1E95F})"
    R"(]])";

// char::is_numeric of Rust, whose tables are newer.
constexpr char kNumeric[] = R"([\p{N}\x{11DE0}-\x{11DE9}\x{16FF4}-\x{16FF6}])";

SplitBehavior read_behavior(const JsonField& field) {
  const std::string& name = field.text();
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field.fail("Isolated, Removed, MergedWithPrevious, MergedWithNext or Contiguous");
}

PrependScheme read_scheme(const JsonField& field) {
  // Before the schemes there was add_prefix_space.
  const bool add = field.boolean_or("add_prefix_space", true);
  const auto scheme = field.find("prepend_scheme");
  if (!scheme) return add ? PrependScheme::always : PrependScheme::never;
  const std::string& name = scheme->text();
  if (name == "first") return PrependScheme::first;
  if (name == "never") return PrependScheme::never;
  if (name == "always") return PrependScheme::always;
  scheme->fail("first, never or always");
}

struct Piece {
  Span span;
  bool match;
};

// The parts of `text` that match and those between, from left to right.
void pieces_of(const SplitStep& step, std::string_view text, std::vector<Span>& matches,
               std::vector<Piece>& pieces) {
  matches.clear();
  pieces.clear();
  step.pattern.find_all(text, matches);
  size_t done = 0;
  for (const Span& match : matches) {
    if (match.begin > done) pieces.push_back({{done, match.begin}, step.invert});
    pieces.push_back({match, !step.invert});
    done = match.end;
  }
  if (done < text.size()) pieces.push_back({{done, text.size()}, step.invert});
}

void split(const SplitStep& step, Words& words) {
  std::vector<Span> old, matches;
  std::vector<Piece> pieces;
  old.swap(words.spans);
  words.spans.reserve(old.size() + words.text.size() / 4);
  for (const Span& whole : old) {
    const size_t first = words.spans.size();
    const auto emit = [&](Span span) {
      if (span.begin < span.end) {
        words.spans.push_back({whole.begin + span.begin, whole.begin + span.end});
      }
    };
    pieces_of(step, words.text.substr(whole.begin, whole.end - whole.begin), matches, pieces);
    // MergedWithNext looks from the right, so it decides which pieces begin anew first.
    bool before = false;
    switch (step.behavior) {
      case SplitBehavior::isolated:
        for (const Piece& piece : pieces) emit(piece.span);
        break;
      case SplitBehavior::removed:
        for (const Piece& piece : pieces) {
          if (!piece.match) emit(piece.span);
        }
        break;
      case SplitBehavior::contiguous:
        for (size_t i = 0; i < pieces.size();) {
          Span span = pieces[i].span;
          const bool match = pieces[i].match;
          for (++i; i < pieces.size() && pieces[i].match == match; ++i)
            span.end = pieces[i].span.end;
          emit(span);
        }
        break;
      case SplitBehavior::merged_with_previous:
        for (const Piece& piece : pieces) {
          if (piece.match && !before && words.spans.size() > first) {
            words.spans.back().end = whole.begin + piece.span.end;
          } else {
            emit(piece.span);
          }
          before = piece.match;
        }
        break;
      case SplitBehavior::merged_with_next: {
        std::vector<Span> reversed;
        for (auto piece = pieces.rbegin(); piece != pieces.rend(); ++piece) {
          if (piece->match && !before && !reversed.empty()) {
            reversed.back().begin = piece->span.begin;
          } else {
            reversed.push_back(piece->span);
          }
          before = piece->match;
        }
        for (auto span = reversed.rbegin(); span != reversed.rend(); ++span) emit(*span);
        break;
      }
    }
  }
}

// Replaces each word by change(word, index).
template <class F>
void rewrite(Words& words, F change) {
  std::string text;
  text.reserve(words.text.size() * 2);
  for (size_t i = 0; i < words.spans.size(); ++i) {
    const size_t begin = text.size();
    text += change(words.word(i), i);
    words.spans[i] = {begin, text.size()};
  }
  words.rewritten = std::move(text);
  words.text = words.rewritten;
}

void apply(const SpaceSign& step, Words& words) {
  const bool first_at_start = words.at_start && !words.spans.empty() && words.spans[0].begin == 0;
  rewrite(words, [&](std::string_view word, size_t i) {
    std::string out;
    const bool prepend = step.prepend == PrependScheme::always ||
                         (step.prepend == PrependScheme::first && i == 0 && first_at_start);
    if (prepend && word[0] != ' ' && !word.starts_with(step.sign)) out += step.sign;
    for (const char c : word) {
      if (c == ' ') {
        out += step.sign;
      } else {
        out += c;
      }
    }
    return out;
  });
}

}  // namespace

void read_pre_tokenizer(const JsonField& field, std::vector<PreTokenizerStep>& out) {
  const std::string type = field.at("type").text();
  const auto add_split = [&](const std::string& regex, SplitBehavior behavior, bool invert) {
    out.push_back(SplitStep{Pattern(Regex(regex, field.where)), behavior, invert});
  };
  if (type == "Sequence") {
    for (const JsonField& item : field.at("pretokenizers").items()) read_pre_tokenizer(item, out);
  } else if (type == "Split") {
    out.push_back(SplitStep{Pattern(field.at("pattern")), read_behavior(field.at("behavior")),
                            field.boolean_or("invert", false)});
  } else if (type == "ByteLevel") {
    if (field.boolean_or("add_prefix_space", true)) out.push_back(PrefixSpace{});
    if (field.boolean_or("use_regex", true)) add_split(kGpt2, SplitBehavior::isolated, false);
    out.push_back(ByteCharacters{});
  } else if (type == "Metaspace") {
    const SpaceSign sign{field.text_or("replacement", "\xE2\x96\x81"), read_scheme(field)};
    out.push_back(sign);
    if (field.boolean_or("split", true)) {
      const FileJson literal = {{"String", sign.sign}};
      out.push_back(SplitStep{Pattern(JsonField{&literal, field.where}),
                              SplitBehavior::merged_with_next, false});
    }
  } else if (type == "Digits") {
    add_split(kNumeric,
              field.boolean_or("individual_digits", false) ? SplitBehavior::isolated
                                                           : SplitBehavior::contiguous,
              false);
  } else if (type == "Punctuation") {
    const auto behavior = field.find("behavior");
    add_split(kPunctuation, behavior ? read_behavior(*behavior) : SplitBehavior::isolated, false);
  } else if (type == "Whitespace") {
    const std::string word = kRustWordItems;
    add_split("[" + word + "]+|[^" + word + "\\s]+", SplitBehavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    add_split("\\s", SplitBehavior::removed, false);
  } else {
    throw UserError(cat(field.where, ": the pre-tokenizer '", type,
                        "' is not supported; known are ByteLevel, Split, Digits, Punctuation, "
                        "Whitespace, WhitespaceSplit, Metaspace and Sequence"));
  }
}

void pre_tokenize(const std::vector<PreTokenizerStep>& steps, Words& words) {
  for (const PreTokenizerStep& step : steps) {
    if (const auto* pattern = std::get_if<SplitStep>(&step)) {
      split(*pattern, words);
    } else if (const auto* sign = std::get_if<SpaceSign>(&step)) {
      apply(*sign, words);
    } else if (std::holds_alternative<PrefixSpace>(step)) {
      rewrite(words, [](std::string_view word, size_t) {
        return (word[0] == ' ' ? "" : " ") + std::string(word);
      });
    } else {
      rewrite(words, [](std::string_view word, size_t) { return bytes_as_characters(word); });
    }
  }
}

}  // namespace hone
