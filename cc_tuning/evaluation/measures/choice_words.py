"""How an answer names an option: letters of many alphabets, and the words that announce a choice, in 22 languages.

The words are our own. A stem stands for itself and what its language adds to it (`Antwort`, `Antworten`; `cevap`,
`cevabı`), without regard to case. A word that could be an option's letter is in none of these lists.
"""

from collections.abc import Mapping

LETTERS_OF_OPTIONS: tuple[tuple[str, ...], ...] = (
    ("أ", "ب", "ج", "د"),  # Arabic
    ("ا", "ب", "ج", "د"),  # the same without hamza, as typed; Urdu
    ("الف", "بی", "سی", "ڈی"),  # names of letters in Urdu: of its own, then of the Latin ones
    ("اے", "بی", "سی", "ڈی"),
    ("ক", "খ", "গ", "ঘ"),  # Bengali
    ("এ", "বি", "সি", "ডি"),
    ("क", "ख", "ग", "घ"),  # Devanagari
    ("अ", "ब", "स", "द"),
    ("ए", "बी", "सी", "डी"),
    ("క", "ఖ", "గ", "ఘ"),  # Telugu
    ("అ", "ఆ", "ఇ", "ఈ"),
    ("ఎ", "బి", "సి", "డి"),
    ("가", "나", "다", "라"),  # Korean
    ("ㄱ", "ㄴ", "ㄷ", "ㄹ"),
    ("ก", "ข", "ค", "ง"),  # Thai
    ("ア", "イ", "ウ", "エ"),  # Japanese
    ("甲", "乙", "丙", "丁"),  # Chinese
    ("Α", "Β", "Γ", "Δ"),  # Greek
    ("α", "β", "γ", "δ"),
    ("А", "Б", "В", "Г"),  # Cyrillic: its third letter looks like the Latin B and is the third option
    ("а", "б", "в", "г"),
)
"""The letters that stand for the first, second, third and fourth option."""

ANSWER_STEMS: Mapping[str, tuple[str, ...]] = {
    "ar": ("الإجابة", "الاجابة", "إجابت", "اجابت", "إجابة", "اجابة", "الجواب", "جواب", "أختار", "اخترت"),
    "bn": ("উত্তর", "জবাব"),
    "de": ("antwort", "lösung", "ich wähle", "ich nehme"),
    "el": ("απάντησ", "απαντησ", "απαντώ", "επιλέγω"),
    "en": ("answer", "choose", "chose", "pick", "select"),
    "es": ("respuesta", "elijo", "escojo"),
    "eu": ("erantzun", "aukeratzen dut"),
    "fr": ("réponse", "reponse", "choisis"),
    "hi": ("उत्तर", "जवाब"),
    "id": ("jawab", "memilih"),
    "ja": ("答え", "回答", "解答", "正解"),
    "ko": ("정답", "대답", "답변", "답"),
    "pt": ("resposta", "escolho"),
    "ru": ("ответ", "выбираю"),
    "sw": ("jibu", "jawabu", "nachagua"),
    "te": ("సమాధాన", "జవాబు"),
    "th": ("คำตอบ", "ตอบ"),
    "tr": ("cevab", "cevap", "yanıt"),
    "ur": ("جواب",),
    "vi": ("đáp án", "trả lời", "tôi chọn"),
    "yo": ("ìdáhùn", "idahun", "ìdáhun", "èsì"),
    "zh": ("答案", "回答", "正解", "选", "選", "选择", "選擇"),
}
"""Words for "answer" and "I choose"; what follows them is what the answer states."""

OPTION_STEMS: Mapping[str, tuple[str, ...]] = {
    "ar": ("الخيار", "خيار", "الاختيار", "اختيار"),
    "bn": ("বিকল্প", "অপশন"),
    "de": ("option", "möglichkeit", "auswahl"),
    "el": ("επιλογ",),
    "en": ("option", "choice"),
    "es": ("opción", "opcion", "alternativa"),
    "eu": ("aukera",),
    "fr": ("option", "choix", "proposition"),
    "hi": ("विकल्प", "ऑप्शन"),
    "id": ("opsi", "pilihan"),
    "ja": ("選択肢",),
    "ko": ("선택지", "보기", "옵션"),
    "pt": ("opção", "opcao", "alternativa"),
    "ru": ("вариант", "опци"),
    "sw": ("chaguo", "chaguzi"),
    "te": ("ఎంపిక", "ఆప్షన్", "ఐచ్ఛిక"),
    "th": ("ตัวเลือก", "ข้อ"),
    "tr": ("seçene", "şık"),
    "ur": ("اختیار", "آپشن", "انتخاب"),
    "vi": ("lựa chọn", "phương án"),
    "yo": ("àṣàyàn", "aṣayan", "yíyàn"),
    "zh": ("选项", "選項"),
}
"""Words for "option"; the label after one is meant as a label."""

LINKS = (
    *(
        "is",
        "are",
        "be",
        "was",
        "would",
        "will",
        "should",
        "must",
        "the",
        "final",
        "correct",
        "right",
        "best",
        "number",
    ),
    *("letter", "likely", "most", "my", "your", "to"),
    *("هي", "هو", "ستكون", "سيكون", "تكون", "الصحيحة", "الصحيح", "صحيحة", "رقم", "الحرف", "النهائية", "الأفضل"),
    *("হল", "হলো", "হবে", "হচ্ছে", "সঠিক", "নম্বর", "টি"),
    *("ist", "lautet", "wäre", "die", "der", "richtige", "korrekte", "nummer", "buchstabe", "meine", "ihre"),
    *("είναι", "είναι:", "η", "ο", "το", "σωστή", "ορθή", "θα", "ήταν", "μου", "σας", "αριθμός"),
    *("es", "la", "el", "correcta", "sería", "será", "número", "letra", "final", "mi", "tu"),
    *("da", "zuzena", "hau", "izango", "litzateke", "nire", "zenbakia"),
    *("est", "serait", "bonne", "correcte", "numéro", "lettre", "ma", "votre"),
    *("है", "होगा", "होगी", "सही", "संख्या", "आपका", "मेरा", "नंबर"),
    *("adalah", "ialah", "yaitu", "yang", "benar", "tepat", "nomor", "huruf", "saya", "anda", "adalah:"),
    *("は", "が", "正しい", "番号", "の", "として"),
    *("은", "는", "이", "번호", "다음과", "같습니다"),
    *("é", "seria", "será", "correta", "certa", "minha", "sua"),
    *("это", "является", "будет", "номер", "правильный", "правильным", "верный", "под", "буква", "мой", "ваш"),
    *("ni", "sahihi", "namba", "nambari", "lako", "langu", "litakuwa", "herufi"),
    *("సరైన", "అనేది", "ఇది", "సరైనది", "మీ", "నా"),
    *("คือ", "ที่", "ถูกต้อง", "เป็น", "จะ", "ของ", "คุณ", "ฉัน", "ถูก"),
    *("doğru", "şudur", "şu", "olarak", "olan", "numara", "numaralı", "benim", "olacaktır"),
    *("ہے", "یہ", "ہوگا", "درست", "صحیح", "نمبر", "آپ", "کا", "میرا"),
    *("là", "đúng", "của", "tôi", "bạn", "số", "sẽ", "chính", "xác"),
    *("ni", "jẹ", "je", "náà", "naa", "tó", "tọ́", "yóò", "mi", "rẹ"),
    *("是", "为", "為", "应该", "應該", "应", "應", "正确", "正確", "的", "选", "選"),
)
"""What may stand between such a word and the label."""

JOINS = (
    *("or", "and", "oder", "und", "o", "y", "u", "e", "ou", "et", "или", "и", "أو", "و", "या", "और", "বা", "এবং", "ও"),
    *(
        "atau",
        "dan",
        "または",
        "か",
        "と",
        "또는",
        "과",
        "와",
        "이나",
        "或",
        "或者",
        "和",
        "au",
        "na",
        "veya",
        "ve",
        "hoặc",
    ),
    *("và", "tàbí", "tabi", "àti", "ati", "edo", "eta", "หรือ", "และ", "లేదా", "మరియు", "یا", "اور", "ή", "και", "&"),
)
"""What stands between two labels when an answer names both."""

WORDS_AFTER_A = (
    *(
        "because",
        "since",
        "as",
        "for",
        "which",
        "is",
        "was",
        "would",
        "seems",
        "and",
        "or",
        "weil",
        "denn",
        "da",
        "ist",
    ),
    *("und", "oder", "porque", "pues", "ya", "es", "y", "o", "pois", "já", "é", "e", "ou", "parce", "car", "puisque"),
    *("est", "et", "karena", "sebab", "adalah", "dan", "atau", "kwa", "ni", "na", "au", "çünkü", "ve", "veya", "vì"),
    *("là", "và", "hoặc", "nítorí", "nitori", "àti", "tàbí", "da", "eta", "edo", "seçeneği", "şıkkı", "doğru"),
)
"""A capital A before another Latin word is an article or a preposition, unless it is one of these."""

ENDS = ("ہے", "ہوگا", "ہو گا", "है", "होगा", "होगी", "হবে", "হয়", "అవుతుంది")
"""Verbs that end a sentence after a label of an alphabet whose letters are also words."""

NOT_BEFORE = (
    *("not", "isn't", "nicht", "no", "no es", "pas", "não", "não é", "не", "δεν είναι", "όχι", "bukan", "không phải"),
    *("không", "ليس", "ليست", "si", "sio", "kì í ṣe", "kii ṣe", "ไม่ใช่", "ez", "不是", "不选", "non"),
)
NOT_AFTER = (
    *(
        "is not",
        "isn't",
        "is wrong",
        "is incorrect",
        "नहीं",
        "ではない",
        "ではありません",
        "ではなく",
        "가 아니",
        "이 아니",
        "는 아니",
        "değil",
    ),
    *("নয়", "కాదు", "نہیں", "est faux", "es incorrecta", "está errada", "ist falsch", "неверн", "不对", "不正确", "错"),
)
"""What turns a label into its contrary, before it and after it."""
