#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "base/error.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Approx;

namespace {

double language(const std::string& code, const std::string& text, const std::string& prompt = "") {
  const Score score = judge("language:language=" + code, {}, text, prompt);
  INFO(text);
  REQUIRE(score.value.has_value());
  return *score.value;
}

struct Sample {
  const char* code;
  const char* text;
};

// A few sentences as a model would think them.
const std::vector<Sample> kSamples = {
    {"en",
     "First, we need to find how many apples are left. She had 12 apples and gave 5 of them to her "
     "brother, so 12 - 5 = 7. Wait, let me check that again. Yes, the answer is 7."},
    {"de",
     "Zuerst müssen wir herausfinden, wie viele Äpfel übrig sind. Sie hatte 12 Äpfel und gab 5 "
     "davon "
     "ihrem Bruder, also 12 - 5 = 7. Moment, das prüfe ich noch einmal. Ja, die Antwort ist 7."},
    {"fr",
     "D'abord, nous devons trouver combien de pommes il reste. Elle avait 12 pommes et en a donné "
     "5 "
     "à son frère, donc 12 - 5 = 7. Attends, vérifions cela encore. Oui, la réponse est 7."},
    {"es",
     "Primero tenemos que encontrar cuántas manzanas quedan. Ella tenía 12 manzanas y le dio 5 a "
     "su "
     "hermano, entonces 12 - 5 = 7. Espera, voy a comprobarlo. Sí, la respuesta es 7."},
    {"it",
     "Prima dobbiamo trovare quante mele sono rimaste. Lei aveva 12 mele e ne ha date 5 a suo "
     "fratello, quindi 12 - 5 = 7. Aspetta, controllo di nuovo. Sì, la risposta è 7."},
    {"pt",
     "Primeiro temos de encontrar quantas maçãs sobraram. Ela tinha 12 maçãs e deu 5 ao seu irmão, "
     "então 12 - 5 = 7. Espere, vou verificar isso outra vez. Sim, a resposta é 7."},
    {"nl",
     "Eerst moeten we vinden hoeveel appels er over zijn. Ze had 12 appels en gaf er 5 aan haar "
     "broer, dus 12 - 5 = 7. Wacht, dat controleer ik nog eens. Ja, het antwoord is 7."},
    {"sv",
     "Först måste vi ta reda på hur många äpplen som är kvar. Hon hade 12 äpplen och gav 5 till "
     "sin "
     "bror, alltså 12 - 5 = 7. Vänta, jag kontrollerar det en gång till. Ja, svaret är 7."},
    {"pl",
     "Najpierw musimy ustalić, ile jabłek zostało. Ona miała 12 jabłek i dała 5 z nich bratu, więc "
     "12 - 5 = 7. Chwila, sprawdzę to jeszcze raz. Tak, odpowiedź to 7."},
    {"zh",
     "首先，我们需要求出还剩多少个苹果。她有12个苹果，给了弟弟5个，所以12-5="
     "7。等一下，再检查一遍。答案是7。"},
    {"ja",
     "まず、りんごがいくつ残っているかを求めます。彼女は12個持っていて、弟に5個あげたので、12-5="
     "7です。確認します。答えは7です。"},
    {"ko",
     "먼저 사과가 몇 개 남았는지 구해야 합니다. 그녀는 사과 12개를 가지고 있었고 동생에게 5개를 "
     "주었으므로 12-5=7입니다."},
    {"ru",
     "Сначала нужно найти, сколько яблок осталось. У неё было 12 яблок, и она дала брату 5, "
     "поэтому 12 - 5 = 7."},
    {"el",
     "Πρώτα πρέπει να βρούμε πόσα μήλα έμειναν. Είχε 12 μήλα και έδωσε 5 στον αδελφό της, άρα 12 - "
     "5 = 7."},
    {"ar", "أولاً علينا أن نجد كم تفاحة بقيت. كان لديها 12 تفاحة وأعطت أخاها 5، إذن 12 - 5 = 7."},
    {"he",
     "קודם צריך למצוא כמה תפוחים נשארו. היו לה 12 תפוחים והיא נתנה 5 לאחיה, ולכן 12 - 5 = 7."},
    {"hi",
     "पहले हमें यह पता करना है कि कितने सेब बचे। उसके पास 12 सेब थे और उसने 5 अपने भाई को दिए, इसलिए 12 - 5 = "
     "7।"},
    {"th", "ก่อนอื่นเราต้องหาว่าเหลือแอปเปิลกี่ลูก เธอมีแอปเปิล 12 ลูกและให้น้องชาย 5 ลูก ดังนั้น 12 - 5 = 7"},
};

}  // namespace

TEST_CASE("thinking in the target language is paid, in any other it is not") {
  for (const Sample& sample : kSamples) {
    for (const Sample& target : kSamples) {
      INFO("target " << target.code << ", thinking in " << sample.code);
      const double share =
          language(target.code, std::string("<think>") + sample.text + "</think>7");
      const bool same = sample.code == target.code;
      CHECK((same ? share >= 0.97 : share <= 0.12));
    }
  }
}

TEST_CASE("only the thinking counts") {
  const std::string de = "Das ist nicht die Antwort, die wir suchen und brauchen.";
  const std::string en = "This is not the answer that we are looking for.";
  CHECK(language("de", "<think>" + de + "</think>" + en) == 1);
  CHECK(language("de", de + "</think>" + en, "Frage: <think>\n") == 1);
  CHECK(language("de", de + "</think>" + en) == 1);  // opened by a prompt that is not given
  CHECK(language("en", "<think>" + de + "</think>" + en) == 0);
  CHECK(language("de", "<think>" + de) == 1);  // cut off
  CHECK(language("de", de) == 1);              // no tags: all of it
  CHECK(language("de", "<think>" + de + "</think>" + en + "<think>" + en + "</think>") < 0.6);
}

TEST_CASE("mixing is counted by words") {
  CHECK(language("en", "So we have the number 然后 and then it is done") ==
        Approx(10 / 12.0));  // each Han character is a word
  CHECK(language("zh", "所以我们 have the 数字") == Approx(6 / 8.0));
  CHECK(language("ko", "그래서 우리는 number 를 구한다") == Approx(4 / 5.0));
  const double half = language(
      "en",
      "We know that this is the first half of it. Aber dann ist das nicht mehr so wie es war.");
  CHECK(half > 0.35);
  CHECK(half < 0.65);
}

TEST_CASE("formulas, code, tags, digits and labels are not words") {
  const std::string zh = "所以我们得到答案。";
  for (const char* other :
       {" $x + \\text{speed} = y$ ", " $$a \\cdot b$$ ", " \\(\\sin(x)\\) ", " \\[\\frac{a}{b}\\] ",
        " 42 3.14 x y ABC GCD ", " ```python\nprint('hello')\n``` ", " `x = total` ",
        " <answer> <b> <|im_start|> ", " \\frac{1}{2} \\cdot \\times ", " \xCF\x80 \xCE\xB1 "}) {
    INFO(other);
    CHECK(language("zh", zh + other + zh) == 1);
  }
}

TEST_CASE("prose does not hide in what is not counted") {
  const std::string zh = "所以我们得到答案。", en = "we simply add these two numbers together";
  CHECK(language("zh", zh + "$" + en + "$") < 0.6);
  CHECK(language("zh", zh + "\\[" + en + "\\]") < 0.6);
  CHECK(language("zh", zh + "```" + en) < 0.6);  // never closed
  CHECK(language("zh", zh + "<" + en + ">") < 0.6);
  CHECK(language("en", "It costs $5 and 我们知道答案 costs $10") < 0.5);
  CHECK(language("en", "$我们知道答案是这个$ so it is") < 0.5);
}

TEST_CASE("the row may name the language") {
  const Problem problem = problem_of({{"language", "fr-FR"}});
  const std::string text = "<think>Nous avons donc la réponse et c'est tout.</think>";
  CHECK(*judge("language", problem, text).value == 1);
  CHECK(*judge("language:language=en", problem, text).value == 0);  // the option is stronger
  CHECK(judge("language", {}, text).status == Status::bad_reference);
  CHECK(judge("language", problem_of({{"language", "xx"}}), text).status == Status::bad_reference);
  CHECK(judge("language", problem_of({{"language", 7}}), text).status == Status::bad_reference);
  CHECK_THROWS_AS(parse_reward_spec("language:language=xx"), UserError);
}

TEST_CASE("thinking without words is no answer") {
  for (const char* text : {"", "42", "<think></think>hello", "<think>$x + y$ 42</think>hello",
                           "<think>\xFF\xFE\x80</think>"}) {
    INFO(text);
    CHECK(no_answer_for(judge("language:language=en", {}, text), "no_words"));
  }
}

TEST_CASE("Chinese is told from Japanese by the sentence") {
  CHECK(language("ja", "計算") == 1);  // a short heading may be either
  CHECK(language("zh", "計算") == 1);
  CHECK(language("ja", "我们需要求出还剩多少个苹果。") == 0);
  CHECK(language("zh", "答えは七つです。") == 0);
  CHECK(language("zh", "网红のの风格是我们最喜欢的一种风格") > 0.8);
}
