#include "data/tasks/words.h"

namespace hone {

const char* const kWords[] = {
    "a", "about", "above", "after", "again", "all", "along", "always", "and", "apple", "arm",
    "around", "ask", "at", "away", "baby", "back", "bag", "ball", "bank", "barn", "basket", "bath",
    "bear", "bed", "bee", "before", "bell", "below", "bench", "berry", "better", "bird", "black",
    "blue", "boat", "book", "both", "box", "boy", "branch", "bread", "bridge", "bright", "bring",
    "brother", "brown", "bucket", "build", "bus", "butter", "button", "by", "cake", "calm", "came",
    "camp", "candle", "cap", "car", "carry", "cat", "chair", "cheese", "child", "circle", "city",
    "clean", "clear", "climb", "clock", "close", "cloud", "coat", "cold", "color", "come", "cook",
    "corn", "corner", "could", "count", "cow", "cup", "dance", "dark", "day", "deep", "desk",
    "dinner", "dog", "door", "down", "draw", "dream", "dress", "drink", "drop", "drum", "duck",
    "dust", "each", "early", "earth", "east", "eat", "egg", "empty", "end", "even", "evening",
    "every", "eye", "face", "fall", "family", "far", "farm", "fast", "father", "feather", "feel",
    "fence", "few", "field", "find", "fire", "first", "fish", "five", "floor", "flower", "fly",
    "fold", "follow", "food", "foot", "forest", "found", "four", "fox", "friend", "frog", "from",
    "fruit", "full", "game", "garden", "gate", "gave", "gentle", "gift", "girl", "give", "glad",
    "glass", "go", "goat", "gold", "good", "grain", "grass", "gray", "great", "green", "ground",
    "grow", "had", "half", "hall", "hand", "happy", "hat", "hay", "heard", "heart", "heavy", "held",
    "help", "hen", "here", "hid", "high", "hill", "hold", "home", "honey", "hop", "horse", "hot",
    "house", "how", "hungry", "ice", "in", "ink", "inside", "iron", "island", "jar", "join", "jump",
    "just", "keep", "kept", "key", "kind", "king", "kitchen", "kite", "knew", "lake", "lamp",
    "land", "large", "last", "late", "laugh", "leaf", "learn", "left", "letter", "light", "like",
    "line", "lion", "listen", "little", "long", "look", "lost", "loud", "lunch", "made", "make",
    "many", "map", "market", "maybe", "meadow", "meet", "milk", "mill", "mind", "mirror", "money",
    "moon", "more", "morning", "mother", "mountain", "mouse", "music", "name", "near", "nest",
    "never", "new", "next", "night", "noon", "north", "nose", "not", "note", "nothing", "now",
    "oak", "ocean", "off", "old", "on", "once", "one", "open", "orange", "other", "over", "owl",
    "page", "paint", "paper", "park", "path", "pear", "pen", "people", "picnic", "pie", "pig",
    "pillow", "place", "plain", "plant", "plate", "play", "pocket", "pond", "pot", "pretty",
    "puddle", "pull", "push", "quick", "quiet", "rabbit", "rain", "ran", "read", "ready", "red",
    "rest", "ride", "ring", "river", "road", "rock", "roof", "room", "root", "rope", "rose",
    "round", "run", "sail", "salt", "sand", "sang", "sat", "saw", "school", "sea", "seed", "seven",
    "sheep", "shell", "ship", "shoe", "shop", "short", "sing", "sister", "sit", "six", "sky",
    "sleep", "slow", "small", "smile", "snow", "soft", "some", "song", "soon", "sound", "south",
    "spoon", "spring", "stair", "star", "stay", "step", "stick", "still", "stone", "stop", "story",
    "straw", "stream", "street", "strong", "sugar", "summer", "sun", "sweet", "swim", "table",
    "tail", "tall", "tea", "tell", "ten", "tent", "thank", "the", "then", "there", "thing", "three",
    "tiger", "time", "tiny", "to", "today", "together", "took", "tower", "town", "toy", "trail",
    "train", "tree", "true", "turn", "two", "under", "until", "up", "very", "village", "visit",
    "voice", "walk", "wall", "warm", "wash", "water", "way", "wheel", "when", "white", "wide",
    "wild", "wind", "window", "winter", "wish", "with", "wolf", "wood", "wool", "word", "work",
    "yard", "year", "yellow", "yes", "young"};

const uint64_t kWordCount = sizeof(kWords) / sizeof(kWords[0]);

}  // namespace hone
