import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.interpret.classify import classify
from app.interpret.normal import normalise
from app.interpret.rules import Rules
from tests.interpreting import rules_of

US = rules_of(packs=["us"])
CANADA = rules_of(packs=["ca"])
RCS = rules_of(packs=["rcs"])


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        ("STOP", "stop"),
        ("  Stop.\r\n", "stop"),
        ("STOP!!", "stop"),
        ('"stop"', "stop"),
        ("“Stop”", "stop"),  # smart quotes
        ("stop\0", "stop"),
        ("\x07stop\x1b", "stop"),
        ("ＳＴＯＰ", "stop"),  # full width
        ("ⓈⓉⓄⓅ", "stop"),
        ("𝐒𝐓𝐎𝐏", "stop"),  # mathematical letters, in which "fancy text" is written
        ("STÖP", "stop"),
        ("ſtop", "stop"),  # the long s of old print
        ("ST\u200bOP", "stop"),  # zero-width space
        ("\ufeffST\u00adOP\u2060", "stop"),  # byte order mark, soft hyphen, word joiner
        ("\u202eSTOP", "stop"),  # written from right to left
        ("STOP\u00a0", "stop"),
        ("STOP\u2028now", "stop now"),
        ("STOP 🛑", "stop"),
        ("🛑STOP🛑", "stop"),
        ("STOP ✋🏽", "stop"),  # a skin tone is a modifier symbol
        ("STOP ❤️", "stop"),  # with a variation selector
        ("1️⃣", "1"),  # a keycap
        ("S\u20ddTOP", "stop"),  # a letter in a circle
        ("🇳🇴", ""),  # a flag is no NO
        ("👍", ""),
        ("...", ""),
        ("opt-out", "opt out"),
        ("Opt   out.", "opt out"),
        ("don't stop", "don t stop"),
        ("ARRÊT", "arret"),
        ("Démarrer", "demarrer"),
        ("começar", "comecar"),
        ("Straße", "strasse"),
        ("İSTOP", "istop"),
        ("ЅТОР", "ѕтор"),  # Cyrillic stays Cyrillic
        ("रोकें", "रोक"),  # marks above and below fall away …
        ("बंद करो", "बद करो"),  # … spacing vowels stay
        ("STOP " * 20 + "é", "stop " * 20 + "e"),
        ("\ue000stop\U0010ffff", "stop"),  # private use and unassigned
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert normalise(text) == normal


@pytest.mark.parametrize(
    ("text", "rules", "category"),
    [
        ("stop", US, "opt_out"),
        ("Stop.", US, "opt_out"),
        ("STOP!!", US, "opt_out"),
        ("ＳＴＯＰ", US, "opt_out"),
        ("STOP 🛑", US, "opt_out"),
        ("STÖP", US, "opt_out"),
        ('"stop"', US, "opt_out"),
        ("“STOP”", US, "opt_out"),
        ("S\u200bTOP", US, "opt_out"),
        ("STOP\u00a0", US, "opt_out"),
        ("STOP\0", US, "opt_out"),
        ("OPT OUT", US, "opt_out"),
        ("opt-out", US, "opt_out"),
        ("Opt out.", US, "opt_out"),
        ("OPTOUT", US, "opt_out"),
        ("stop all", US, "opt_out"),
        ("StopAll", US, "opt_out"),
        ("revoke", US, "opt_out"),
        ("Please opt me out", US, "opt_out"),
        ("NO", US, "opt_out"),
        ("cancel", US, "opt_out"),
        ("unstop", US, "opt_in"),  # it contains stop and means the contrary
        ("Yes!", US, "opt_in"),
        ("info", US, "help"),
        ("help?", US, "help"),
        # everything else: a keyword is the whole message
        ("don't stop", US, "default"),
        ("STOP 12345", US, "default"),
        ("we must STOP this bill", US, "default"),
        ("cancel my order", US, "default"),
        ("No, not on Tuesday", US, "default"),
        ("yes please, 10 o'clock", US, "default"),
        ("ЅТОР", US, "default"),
        ("CANCIL", US, "default"),  # a near miss waits for the second classifier
        ("please stop texting me", US, "default"),
        ("Stop. Thank you", US, "default"),
        ("🛑", US, "default"),
        ("", US, "default"),
        ("arrêt", US, "default"),
        ("arrêt", CANADA, "opt_out"),
        ("ARRET", CANADA, "opt_out"),
        ("aide", CANADA, "help"),
        ("opt out", CANADA, "default"),  # only where it is listed
        ("baja", RCS, "opt_out"),
        ("parar", RCS, "opt_out"),
        ("alta", RCS, "opt_in"),
        ("começar", RCS, "opt_in"),
        ("Démarrer", RCS, "opt_in"),
    ],
)  # fmt: skip
def test_what_people_write_and_what_it_means(text: str, rules: Rules, category: str) -> None:
    found = classify(normalise(text), None, rules)

    assert found.category == category


@given(st.text())
def test_the_normal_form_is_its_own_normal_form(text: str) -> None:
    once = normalise(text)

    assert normalise(once) == once


@given(
    st.text(alphabet="., !?\"'*-_\n\t\0\u00a0\u200b\ufe0f🛑✋🏽“”", max_size=50),
    st.text(alphabet="()…🙏\u200d ", max_size=50),
)
def test_nothing_around_a_stop_hides_it(before: str, behind: str) -> None:
    assert normalise(f"{before}sToP{behind}") == "stop"
