#include "text/bpe.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>

#include "base/error.h"
#include "base/rng.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace hone {
namespace {

constexpr std::string_view kSign = "\xE2\x96\x81";  // sentencepiece's for a space

// Whether a sign stands behind another character.
bool has_sign_inside(std::string_view text) {
  while (text.starts_with(kSign)) text.remove_prefix(kSign.size());
  return text.find(kSign) != std::string_view::npos;
}

// Up to here looking at all pairs again after each merge is faster than a heap.
constexpr size_t kShortWord = 24;

uint64_t hash_word(std::string_view word) {
  uint64_t h = word.size() * 0x9E3779B97F4A7C15ull;
  size_t i = 0;
  for (; i + 8 <= word.size(); i += 8) {
    uint64_t part;
    std::memcpy(&part, word.data() + i, 8);
    h = (h ^ part) * 0xBF58476D1CE4E5B9ull;
    h ^= h >> 31;
  }
  uint64_t part = 0;
  std::memcpy(&part, word.data() + i, word.size() - i);
  h = (h ^ part) * 0x94D049BB133111EBull;
  return h ^ h >> 29;
}

uint64_t pair_of(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

size_t hash_pair(uint64_t pair) {
  pair *= 0x9E3779B97F4A7C15ull;
  return static_cast<size_t>(pair ^ pair >> 32);
}

}  // namespace

BpeScratch::BpeScratch() : entries_(std::make_unique<Entry[]>(kCached)) {}

Bpe::Bpe(const Vocab& vocab, const std::vector<Merge>& merges, const BpeOptions& options,
         const std::string& where)
    : options_(options) {
  tokens_.reserve(vocab.size());
  for (const auto& [text, id] : vocab) {
    if (!options.byte_characters) {
      tokens_.emplace(text, id);
    } else if (auto bytes = characters_as_bytes(text)) {
      tokens_.emplace(std::move(*bytes), id);
    }
  }
  byte_ids_.fill(-1);
  fallback_ids_.fill(-1);
  for (int b = 0; b < 256; ++b) {
    if (b < 0x80 || options.byte_characters) {
      const auto it = tokens_.find(std::string(1, static_cast<char>(b)));
      if (it != tokens_.end()) byte_ids_[static_cast<size_t>(b)] = it->second;
    }
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    const auto it = vocab.find(name);
    if (it != vocab.end()) fallback_ids_[static_cast<size_t>(b)] = it->second;
  }
  if (options.unk_token) {
    // One that the vocabulary lacks matters only when it is needed.
    const auto it = vocab.find(*options.unk_token);
    if (it != vocab.end()) unk_id_ = it->second;
  }
  size_t slots = 16;
  while (slots < 2 * merges.size()) slots *= 2;
  merges_.resize(slots);
  mask_ = slots - 1;
  const size_t prefix = options.continuing_subword_prefix.size();
  cuts_at_sign_ = !options.byte_characters && !options.ignore_merges && prefix == 0 &&
                  options.end_of_word_suffix.empty() && tokens_.contains(std::string(kSign));
  for (size_t i = 0; i < merges.size(); ++i) {
    const auto id_of = [&](const std::string& token) {
      const auto it = vocab.find(token);
      if (it == vocab.end()) {
        throw UserError(cat(where, ".merges[", i, "]: expected two tokens of the vocabulary whose ",
                            "union is a token, found '", merges[i].first, "' and '",
                            merges[i].second, "'; '", token, "' is not in the vocabulary"));
      }
      return it->second;
    };
    const auto& [left, right] = merges[i];
    const int32_t l = id_of(left), r = id_of(right);
    const std::string merged = left + right.substr(std::min(prefix, right.size()));
    add_merge(l, r, static_cast<uint32_t>(i), id_of(merged));
    if (has_sign_inside(merged)) cuts_at_sign_ = false;
  }
}

void Bpe::add_merge(int32_t left, int32_t right, uint32_t rank, int32_t id) {
  const uint64_t pair = pair_of(left, right);
  size_t i = hash_pair(pair) & mask_;
  while (merges_[i].pair != UINT64_MAX && merges_[i].pair != pair) i = (i + 1) & mask_;
  merges_[i] = {pair, rank, id};  // of a pair that is listed twice the last counts
}

const Bpe::Slot* Bpe::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  for (size_t i = hash_pair(pair) & mask_;; i = (i + 1) & mask_) {
    if (merges_[i].pair == pair) return &merges_[i];
    if (merges_[i].pair == UINT64_MAX) return nullptr;
  }
}

void Bpe::first_symbols(std::string_view word, std::vector<int32_t>& ids) const {
  const bool decorated =
      !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
  bool unknown = false;  // an unknown token waits to be written
  for (size_t i = 0; i < word.size();) {
    const size_t length = options_.byte_characters ? 1 : utf8_step(word.substr(i)).length;
    int32_t id = -1;
    std::string_view text = word.substr(i, length);
    std::string with_marks;
    if (decorated) {
      if (i > 0) with_marks += options_.continuing_subword_prefix;
      with_marks += text;
      if (i + length == word.size()) with_marks += options_.end_of_word_suffix;
      text = with_marks;
    }
    if (length == 1 && !decorated) {
      id = byte_ids_[static_cast<unsigned char>(word[i])];
    } else {
      const auto it = tokens_.find(std::string(text));
      if (it != tokens_.end()) id = it->second;
    }
    i += length;
    if (id >= 0) {
      if (unknown) ids.push_back(unk_id_);
      unknown = false;
      ids.push_back(id);
      continue;
    }
    const auto fallback = [&](char b) { return fallback_ids_[static_cast<unsigned char>(b)]; };
    if (options_.byte_fallback &&
        std::all_of(text.begin(), text.end(), [&](char b) { return fallback(b) >= 0; })) {
      // Hugging Face leaves a waiting unknown token behind these bytes; so do we.
      for (const char b : text) ids.push_back(fallback(b));
    } else if (unk_id_ >= 0) {
      if (unknown && !options_.fuse_unk) ids.push_back(unk_id_);
      unknown = true;
    }
  }
  if (unknown) ids.push_back(unk_id_);
}

void Bpe::merge_short(BpeScratch& scratch, std::vector<int32_t>& ids, size_t begin) const {
  // ranked[i] is what merging symbols i and i + 1 gives.
  auto& ranked = scratch.ranked_;
  constexpr uint32_t kNone = UINT32_MAX;
  int32_t* symbols = ids.data() + begin;
  size_t n = ids.size() - begin;
  const auto rank_of = [&](size_t i) -> std::pair<uint32_t, int32_t> {
    const Slot* slot = i + 1 < n ? find_merge(symbols[i], symbols[i + 1]) : nullptr;
    return slot ? std::pair{slot->rank, slot->id} : std::pair{kNone, 0};
  };
  ranked.resize(n);
  for (size_t i = 0; i < n; ++i) ranked[i] = rank_of(i);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (ranked[i].first < ranked[best].first) best = i;
    }
    if (ranked[best].first == kNone) break;
    symbols[best] = ranked[best].second;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      symbols[i] = symbols[i + 1];
      ranked[i] = ranked[i + 1];
    }
    --n;
    ranked[best] = rank_of(best);
    if (best > 0) ranked[best - 1] = rank_of(best - 1);
  }
  ids.resize(begin + n);
}

// O(n log n): a heap of (rank, position), leftmost first; entries that later merges have made
// untrue are left in and passed over.
void Bpe::merge_long(BpeScratch& scratch, std::vector<int32_t>& ids, size_t begin) const {
  auto& symbols = scratch.symbols_;
  auto& heap = scratch.heap_;
  const auto n = static_cast<int32_t>(ids.size() - begin);
  symbols.clear();
  heap.clear();
  for (int32_t i = 0; i < n; ++i) {
    symbols.push_back({ids[begin + static_cast<size_t>(i)], i - 1, i + 1 < n ? i + 1 : -1, true});
  }
  const auto entry_of = [&](int32_t left) -> std::optional<uint64_t> {
    if (left < 0 || symbols[left].next < 0) return std::nullopt;
    const Slot* slot = find_merge(symbols[left].id, symbols[symbols[left].next].id);
    if (!slot) return std::nullopt;
    return uint64_t{slot->rank} << 32 | static_cast<uint32_t>(left);
  };
  for (int32_t i = 0; i < n; ++i) {
    if (const auto entry = entry_of(i)) heap.push_back(*entry);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t entry = heap.back();
    heap.pop_back();
    const auto at = static_cast<int32_t>(entry & UINT32_MAX);
    auto& left = symbols[at];
    if (!left.live || left.next < 0) continue;
    auto& right = symbols[left.next];
    const Slot* slot = find_merge(left.id, right.id);
    if (!slot || slot->rank != entry >> 32) continue;
    left.id = slot->id;
    right.live = false;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].previous = at;
    for (const int32_t begin_of_pair : {left.previous, at}) {
      if (const auto fresh = entry_of(begin_of_pair)) {
        heap.push_back(*fresh);
        std::push_heap(heap.begin(), heap.end(), std::greater<>());
      }
    }
  }
  ids.resize(begin);
  for (int32_t i = n > 0 ? 0 : -1; i >= 0; i = symbols[i].next) ids.push_back(symbols[i].id);
}

void Bpe::encode(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  while (cuts_at_sign_ && !word.empty()) {
    size_t end = 0;
    while (word.substr(end).starts_with(kSign)) end += kSign.size();
    end = std::min(word.find(kSign, end), word.size());
    encode_word(word.substr(0, end), scratch, ids);
    word.remove_prefix(end);
  }
  if (!word.empty()) encode_word(word, scratch, ids);
}

// One that no merge reaches beyond.
void Bpe::encode_word(std::string_view word, BpeScratch& scratch, std::vector<int32_t>& ids) const {
  BpeScratch::Entry* entry = nullptr;
  if (word.size() <= sizeof entry->word) {
    entry = &scratch.entries_[hash_word(word) & (BpeScratch::kCached - 1)];
    if (entry->size == word.size() && std::memcmp(entry->word, word.data(), word.size()) == 0) {
      ids.insert(ids.end(), entry->ids, entry->ids + entry->count);
      return;
    }
  }
  const size_t begin = ids.size();
  const auto whole = options_.ignore_merges ? tokens_.find(std::string(word)) : tokens_.end();
  if (whole != tokens_.end()) {
    ids.push_back(whole->second);
  } else {
    first_symbols(word, ids);
  }
  const size_t count = ids.size() - begin;
  if (count > kShortWord) {
    merge_long(scratch, ids, begin);
  } else if (count > 1) {
    merge_short(scratch, ids, begin);
  }
  const size_t merged = ids.size() - begin;
  if (entry && merged <= std::size(entry->ids)) {
    std::memcpy(entry->word, word.data(), word.size());
    entry->size = static_cast<uint8_t>(word.size());
    entry->count = static_cast<uint8_t>(merged);
    std::copy(ids.begin() + static_cast<ptrdiff_t>(begin), ids.end(), entry->ids);
  }
}

}  // namespace hone
