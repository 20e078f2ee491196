"""Names that nobody can take for another's: one script each, and none that looks like one there is.

In: names. Out: what two names must not share. After Unicode's UTS 39, of which the parts are here that tell people apart at a glance.
"""

from __future__ import annotations

import unicodedata

TOGETHER = ({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"},)  # scripts that one name may mix
# Letters of Cyrillic and Greek, and figures, that look like Latin ones.
ALIKE = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u04bb\u0501\u051b\u051d"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0405\u0406\u0408"
    "\u03b1\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c7\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "01|I\u0131\u04c0\u04cf",
    "abekmhopctyxsijhdqw"
    "ABEKMHOPCTYXSIJ"
    "aiKvopuxABEZHIKMNOPTYX"
    "Olllill",
)  # fmt: skip


def same(name: str) -> str:
    """What two spellings of one name share: compatible letters, upper and lower case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def look(name: str) -> str:
    """What two names share that look alike."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", name).translate(ALIKE)).translate(ALIKE)
    letters = "".join(c for c in plain if not unicodedata.combining(c) and not c.isspace())
    return letters.casefold().replace("rn", "m").replace("vv", "w")


def mixed(name: str) -> bool:
    """Whether a name mixes scripts, such as Latin letters with a Cyrillic one among them."""
    scripts = {unicodedata.name(c, "?").split()[0] for c in unicodedata.normalize("NFKC", name) if c.isalpha()}
    return len(scripts) > 1 and not any(scripts <= these for these in TOGETHER)
