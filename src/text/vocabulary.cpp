#include "text/vocabulary.h"

#include <algorithm>
#include <map>

namespace hone {
namespace {

// Named special tokens in transformers; the first four are also what hone asks for.
constexpr const char* kNamed[] = {"bos_token", "eos_token", "pad_token", "unk_token",
                                  "sep_token", "cls_token", "mask_token"};

AddedToken read_added_token(const JsonField& field) {
  AddedToken token;
  token.content = field.at("content").text();
  token.single_word = field.boolean_or("single_word", false);
  token.lstrip = field.boolean_or("lstrip", false);
  token.rstrip = field.boolean_or("rstrip", false);
  token.special = field.boolean_or("special", false);
  token.normalized = field.boolean_or("normalized", !token.special);
  return token;
}

// A token given by its text alone, or described.
AddedToken read_special_token(const JsonField& field) {
  AddedToken token;
  if (field.json->is_string()) {
    token.content = field.text();
  } else {
    token = read_added_token(field);
  }
  token.special = true;
  return token;
}

}  // namespace

std::optional<int32_t> Vocabulary::find(const std::string& text) const {
  if (const auto it = added_ids.find(text); it != added_ids.end()) return it->second;
  if (const auto it = model.find(text); it != model.end()) return it->second;
  return std::nullopt;
}

void Vocabulary::add(const AddedToken& token) {
  if (token.content.empty()) return;
  const auto next = std::max(static_cast<int32_t>(model.size()), largest_added_ + 1);
  const int32_t id = find(token.content).value_or(next);
  largest_added_ = std::max(largest_added_, id);
  added_ids[token.content] = id;
  added[id] = token;
}

Vocabulary read_vocabulary(const JsonField& file) {
  Vocabulary vocabulary;
  const JsonField vocab = file.at("model").at("vocab");
  if (!vocab.json->is_object()) vocab.fail("an object from tokens to ids");
  // A file cannot make hone reserve memory for ids that it does not have.
  const int64_t limit = 1'000'000 + 4 * static_cast<int64_t>(vocab.json->size());
  vocabulary.model.reserve(vocab.json->size());
  for (const auto& [text, id] : vocab.json->items()) {
    const bool good = id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < limit;
    if (!good) JsonField{&id, cat(vocab.where, ".", text)}.fail(cat("an id below ", limit));
    vocabulary.model.emplace(text, id.get<int32_t>());
  }
  if (const auto added = file.find("added_tokens")) {
    for (const JsonField& item : added->items()) vocabulary.add(read_added_token(item));
  }
  return vocabulary;
}

NamedTokens add_configured_tokens(const JsonField& config, const JsonField& special_map,
                                  Vocabulary& vocabulary) {
  const auto declared = config.find("added_tokens_decoder");
  if (declared) {
    std::map<int64_t, AddedToken> by_id;  // they are added in the order of their ids
    for (const auto& [id, token] : declared->json->items()) {
      const JsonField field{&token, cat(declared->where, ".", id)};
      if (id.empty() || id.size() > 9 || id.find_first_not_of("0123456789") != std::string::npos) {
        field.fail("ids as keys");
      }
      by_id[std::stoll(id)] = read_added_token(field);
    }
    for (const auto& [id, token] : by_id) vocabulary.add(token);
  }

  const auto add = [&](const JsonField& field) {
    const AddedToken token = read_special_token(field);
    // The flags of a token that is there already stay as they are.
    if (!vocabulary.added_ids.contains(token.content)) vocabulary.add(token);
    return vocabulary.find(token.content);
  };
  // transformers reads the map only beside a configuration of the older kind.
  const auto setting = [&](const char* key) {
    const auto mapped = declared ? std::nullopt : special_map.find(key);
    return mapped ? mapped : config.find(key);
  };
  NamedTokens named;
  std::optional<int32_t>* const places[] = {&named.bos, &named.eos, &named.pad, &named.unk};
  for (size_t i = 0; i < std::size(kNamed); ++i) {
    const auto field = setting(kNamed[i]);
    if (!field) continue;
    const auto id = add(*field);
    if (i < std::size(places)) *places[i] = id;
  }
  // A model's own names, such as image_token.
  for (const auto& [key, value] : config.json->items()) {
    const bool known = std::find(std::begin(kNamed), std::end(kNamed), key) != std::end(kNamed);
    if (key.ends_with("_token") && !known && value.is_string()) add({&value, config.where + key});
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto extra = setting(key);
    if (!extra || !extra->json->is_structured()) continue;
    for (const auto& [name, value] : extra->json->items()) add({&value, extra->where + "." + name});
  }
  return named;
}

}  // namespace hone
