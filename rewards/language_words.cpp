// The lists hold articles, pronouns, prepositions, conjunctions, auxiliaries and the small words of
// reasoning ("then", "also", "donc"). A word that several languages have stands in each list that
// has it, and so says nothing; common English words that spell a function word elsewhere ("die",
// "sin", "plus", "son") are in the English list for that reason. Particles of names (de, la, van,
// von) are left out.

#include "rewards/language_words.h"

#include <sstream>

namespace hone {
namespace {

WordList list(const char* code, const char* words) {
  WordList out{code, {}};
  std::istringstream in(words);
  for (std::string word; in >> word;) out.words.push_back(word);
  return out;
}

}  // namespace

const std::vector<WordList>& function_words() {
  static const std::vector<WordList> lists = {
      list(
          "en",
          "cho ta han ada toe al du ai med ela lei uno las yo elk elle fare ha de di ben dir dan "
          "ella ne hay le ve po ed ton till los co solo del encore hem mon the "
          "and of to in is it that was for on are as with his they be at one have this from or "
          "had by not but what all were we when your can said there use an each which she do how "
          "their if will up other about out many then them these so some her would make like him "
          "into time has look two more write go see no way could people my than been now find any "
          "because since therefore thus hence let us need needs get gets only just also first "
          "next last wait check should must may might our its i you he me who why where does did "
          "doing very well here such both same own most over after before between again another "
          "while until each every few those being under through during without within against "
          "too much even still however although though so yes okay ok right left know think "
          "given want means both gives equals sum plus minus times number answer step "
          "come sea son sin tan son den die war hat bin man fast car on or pour sur dans men door "
          "met ten nos dos no as com me he as per due non ma era mi tu et est ad un se si die sind "
          "must alle mit dies des am plan dire fin pas par ce vers note base line are "
          "per via pro con sans"),
      list(
          "de",
          "der die das und ist nicht ein eine einen einem einer eines zu den dem des mit von für "
          "auf im sich auch als an es wir ich du er sie ihr uns aber oder wenn dann weil dass also "
          "so wie was wer wo hier dort noch schon nur sehr mehr kann können muss müssen haben hat "
          "habe hatte sind war waren wird werden wurde sein bei aus nach über unter zwischen durch "
          "gegen ohne um zum zur vom beim ins bis seit man kein keine keinen jetzt zuerst nun "
          "damit "
          "daher deshalb somit denn doch erst alle alles jede jeder jedes diese dieser dieses "
          "diesen "
          "mir mich dir ihm ihn gibt ergibt gilt wissen warte nächste zuletzt insgesamt bin am in "
          "will fast hat man war dies die antwort lösung schritt zahl zahlen ja nein"),
      list(
          "fr",
          "de ne le les des un une et est dans que qui pour pas sur avec sont par plus ce cette "
          "ces se "
          "nous vous il elle ils elles je tu on ne mais ou où donc car si comme tout tous toute "
          "toutes être avoir fait faire peut peuvent doit doivent avons ont était étaient sera aux "
          "au du en sans sous entre vers chez alors ainsi aussi très bien encore même deux trois "
          "puis ensuite enfin maintenant parce quand quel quelle quels quelles notre votre leur "
          "leurs mon ma mes son sa ses ton cela ceci ça voici voilà reste calculons nombre réponse "
          "est soit or oui non lui y"),
      list("es",
           "de el los las un una unos unas y o que en es por con para no se lo su sus al del como "
           "más "
           "pero este esta estos estas eso esa ese ser son está están fue era hay tiene tienen "
           "tenemos "
           "puede pueden podemos debe debemos si sí cuando donde porque entonces así también muy "
           "ya todo todos toda todas cada entre sobre hasta desde sin mi tu nos nuestro nuestra "
           "le les me te yo él ella ellos ahora primero luego después cual cuál qué quién cuánto "
           "cuántos vamos hacer hace dos tres número respuesta paso he has tan sea esto pues aquí "
           "ni según mismo otra otro"),
      list("it",
           "di ne il lo gli i le un uno una e è che in per con non si sono del della dei delle "
           "degli "
           "dello "
           "nel nella nei nelle al alla ai alle dal dalla sul sulla come più ma anche o se questo "
           "questa questi queste quello quella essere avere ha hanno abbiamo era erano può possono "
           "possiamo deve dobbiamo quando dove perché quindi allora così poi ora prima dopo ogni "
           "tutto tutti tutte molto sua suo suoi loro noi voi lui lei io mi ti ci vi cui quale "
           "quali "
           "quanto quanti due tre numero risposta passo dunque infatti cioè ed sia fra tra senza "
           "già ancora solo stesso fare"),
      list(
          "pt",
          "de o os as um uma uns umas e é que em do da dos das no na nos nas por para com não se "
          "como "
          "mais mas ao aos à às pelo pela este esta estes estas isso isto esse essa ser são está "
          "estão foi era há tem têm temos pode podem podemos deve devemos quando onde porque então "
          "assim também muito já todo todos toda todas cada entre sobre até desde sem seu sua seus "
          "suas meu minha nosso nossa ele ela eles elas eu você nós lhe me te agora primeiro "
          "depois "
          "qual quais quem quanto quantos vamos fazer faz dois duas três número resposta passo ou "
          "portanto logo ainda só mesmo outro outra sim"),
      list(
          "nl",
          "de ja het een en is dat niet op te zijn met voor aan er maar om ook als dan bij nog uit "
          "naar door over ze hij zij wij we ik je jij u hun hem haar ons onze mijn deze dit die "
          "wat wie waar hoe wanneer waarom omdat dus want of kan kunnen moet moeten heeft hebben "
          "had "
          "was waren wordt worden werd zou zullen zal geen alle elke elk veel meer zeer nu eerst "
          "daarna tot tegen tussen onder zonder naar toch wel al hier daar men toe in "
          "antwoord getal getallen stap laten krijgen we ten met"),
      list(
          "sv",
          "ta sin ja och det att som på är av för med till den inte om ett har de jag vi du han "
          "hon men så "
          "var "
          "från eller när där här hur vad vilken vilket vilka också bara kan måste ska skulle blir "
          "blev mellan efter under över utan eftersom därför alltså sedan först nu alla varje "
          "mycket mer två tre svar svaret talet i en"),
      list("pl",
           "ile ja i w na że się nie jest z do to jak co o od za po ale czy lub oraz dla przez tak "
           "ten ta te tego tej tym są był była było być mamy może można musi ponieważ więc zatem "
           "jeśli gdy kiedy gdzie który która które teraz najpierw potem każdy wszystkie tylko "
           "bardzo już jeszcze między bez liczba liczby odpowiedź ich jego jej my nam nas"),
      list(
          "tr",
          "ve bir bu da de için ile o çok daha ne gibi kadar sonra olarak olan oldu olur değil var "
          "yok ama veya eğer çünkü şimdi önce her ki mi biz ben sen onlar bizim onun bunun şu "
          "nasıl neden hangi ise göre yani ancak sadece tüm bütün iki üç sayı sayısı cevap"),
      list(
          "vi",
          "và là của có không được cho các một những này đó với trong để khi thì từ như cũng đã sẽ "
          "đang hay hoặc nếu vì nên vậy do đến ra vào lên trên dưới giữa chúng ta tôi bạn nó họ số "
          "bước tính đáp án hai ba bằng cần phải rất nhiều hơn tất cả mỗi"),
      list("id",
           "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga ke karena ada adalah "
           "saya kita kami dia mereka anda bisa dapat harus sudah telah oleh atau tetapi tapi jika "
           "maka jadi sehingga kemudian lalu sekarang setiap semua lebih sangat hanya antara "
           "bagaimana berapa apa siapa dua tiga angka bilangan jawaban langkah"),
  };
  return lists;
}

}  // namespace hone
