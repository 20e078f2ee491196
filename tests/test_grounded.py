"""Words that rest on facts: one story, in one sentence, or 'not sure'; and questions answered from what was measured."""

import re
from dataclasses import replace

import pytest

from vlad.explainers.asked import CANNOT, answer
from vlad.explainers.grounded import UNLIKE, Known, ground, measured, where
from vlad.types import NOT_SURE, Explanation, Fact, Segment
from vlad.wording import COLOURS, UNCLEAR, reading

LABELS = ("fighting", "road accident", "explosion", "robbery", "falling")
FACTS = (
    Fact("people", "2 people at once", 2.0, 0.8, 14.0), Fact("vehicles", "no vehicle detected", 0.0, 0.5, 0.0),
    Fact("close", "two people close together for 6 s", 6.0, 0.7, 12.0), Fact("person speed", "moving fast (3 body heights a second)", 3.0, 0.6, 13.0),
    Fact("where", "in the left of the picture", 0.2, 0.8, 12.0), Fact("clothes", "a red top", 1.0, 0.9, 12.0),
)  # fmt: skip


def segment(label: str = "fighting", peak: float = 0.9) -> Segment:
    return Segment(12.0, 18.0, peak, 14.0, label)


def said(
    label: str = "fighting", *, what: str = "fighting: hitting each other", verdict: str = "anomaly", peak: float = 0.9
) -> Explanation:
    fields = {
        "what": what,
        "who": "a person in a blue top",
        "where": "in an alley",
        "why": "people use violence against each other",
    }
    return Explanation(
        segment(label, peak),
        verdict,
        f"This appears to show {what}.",
        fields,
        (13.0,),
        "explain@1",
        "nano+adapter",
        "{...}",
        1.0,
    )  # type: ignore[arg-type]


def known(*, share: float = 0.9, familiar: float | None = 0.0, facts: tuple[Fact, ...] = FACTS) -> Known:
    return Known(facts, share, familiar, 0.5)


def test_footage_unlike_the_models_own_gets_facts() -> None:
    found = ground(said(what="explosion: a fireball"), known(share=0.2), LABELS)
    assert found.text == (
        "2 people, in the left of the picture, from 0:12 to 0:18, two people close together for 6 s, moving fast (3 body heights a second); "
        f"{UNCLEAR}."
    )
    assert (found.verdict, found.sure) == ("unclear", False)
    assert {NOT_SURE, UNLIKE} <= set(found.notes)
    assert "explosion" not in found.text
    assert found.raw == "{...}"


def test_what_a_picture_looks_like_is_told_as_no_more_than_that() -> None:
    told = replace(known(share=0.2), looks="a man riding a bike")
    found = ground(said(), told, LABELS)
    assert found.text.endswith(f"; {UNCLEAR}; one picture of it looks like a man riding a bike.")
    assert (found.verdict, found.sure) == ("unclear", False)
    sure = ground(said(), replace(told, share=0.9), LABELS)
    assert "bike" not in sure.text, "where the class is named, nothing is guessed beside it"


def test_a_class_the_scorer_is_sure_of_and_facts_allow_is_named() -> None:
    found = ground(said(what="explosion: a fireball"), known(share=0.8), LABELS)
    assert found.fields["what"] == "a fight"
    assert found.text.startswith("This appears to show a fight (2 people; in the left of the picture")
    assert found.sure
    assert "explosion" not in found.text + " ".join(found.fields.values())


def test_a_road_accident_without_a_vehicle_is_not_named() -> None:
    assert not ground(said("road accident"), known(share=0.9), LABELS).sure
    car = (*FACTS[:1], Fact("vehicles", "3 vehicles at once", 3.0, 0.7, 13.0))
    assert ground(said("road accident"), known(share=0.9, facts=car), LABELS).sure
    assert ground(said("road accident"), known(share=0.9, facts=()), LABELS).sure, "nobody looked: nothing contradicts"


def test_in_the_world_it_knows_the_models_words_count_where_they_agree_with_the_scorer() -> None:
    found = ground(said(), known(familiar=0.99), LABELS)
    assert found.text == (
        "This appears to show fighting: hitting each other (a person in a red top; in an alley; from 0:12 to 0:18)."
    ), "the colour is the measured one"
    assert reading(found, "fighting").text == found.text  # one sentence, wherever it is read
    assert (found.verdict, found.probability) == ("anomaly", 0.99)
    other = ground(said(what="robbery: takes a bag"), known(familiar=0.99), LABELS)
    assert not other.sure
    assert "robbery" not in other.text + " ".join(other.fields.values())


COATS = (Fact("clothes", "a red top and blue trousers", 0.8, 0.9), Fact("clothes", "an orange top", 0.7, 0.9),
         Fact("clothes", "a green top", 0.1, 0.9), Fact("clothes", "a pink top", 0.9, 0.2), Fact("vehicle colour", "yellow vehicle", 0.6, 0.9))  # fmt: skip


@pytest.mark.parametrize(
    ("guess", "told", "bare"),
    [
        ("a person in a black top and white trousers", "a person in a red top and blue trousers", "a person"),
        ("a person in a red top and red trousers and a person in a red top and red trousers",
         "a person in a red top and blue trousers and a person in an orange top", "two people"),
        ("a robber in an orange top and red trousers and a person in a yellow top and white trousers",
         "a robber and a person, one in a red top and blue trousers, one in an orange top", "a robber and a person"),
        ("a blue car and a pedestrian in a white top and orange trousers", "a yellow car and a pedestrian in a red top and blue trousers",
         "a car and a pedestrian"),
        ("smashes an orange car with a bat", "smashes a yellow car with a bat", "smashes a car with a bat"),
        ("a parked orange car", "a parked yellow car", "a parked car"),
        ("a black and white dog with an orange ball", "a dog with a ball", "a dog with a ball"),
    ],
)  # fmt: skip
def test_a_models_words_keep_no_colour_that_was_not_measured(guess: str, told: str, bare: str) -> None:
    assert measured(guess, COATS) == told, "whoever was hardly there, or is not surely so, lends no colour"
    assert measured(guess, ()) == bare


def test_no_field_and_no_sentence_names_a_colour_that_nobody_measured() -> None:
    guess = said(what="fighting: hitting a green car")
    guess = replace(guess, fields={**guess.fields, "where": "at a purple wall", "why": "a white knife"})
    for familiar in (0.0, 0.99):
        found = ground(guess, known(familiar=familiar, facts=FACTS[:-1]), LABELS)
        assert not set(COLOURS) & set(re.findall(r"[a-z]+", " ".join([found.text, *found.fields.values()])))
    caption = Explanation(guess.segment, "unclear", "a blue van and a red dog", raw="...")
    assert ground(caption, known(familiar=0.99), LABELS).text == "a van and a dog"


@pytest.mark.parametrize("familiar", [0.0, 0.99])
def test_what_is_calm_is_called_normal(familiar: float) -> None:
    found = ground(said(verdict="normal", peak=0.1), known(familiar=familiar), LABELS)
    assert found.verdict == "normal"
    assert "fight" not in found.text
    assert "appears to be normal" in found.text
    assert found.sure


def test_nothing_is_invented_where_nothing_was_seen() -> None:
    found = ground(said(), known(share=0.0, facts=()), LABELS)
    assert found.text == f"From 0:12 to 0:18; {UNCLEAR}."
    assert "who" not in found.fields


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("How many people are there?", "At most 2 people at once, at 0:14."),
        ("How many cars?", "No vehicle was detected; small or hidden ones may be missed."),
        ("How fast do they run?", "Measured: moving fast (3 body heights a second), at 0:13."),
        ("What colour is the car?", "No colour of a vehicle could be measured here."),
        ("What does he wear?", "Measured: a red top, at 0:12."),
        ("Did anyone fall?", "Nothing of that kind was measured here; that is no proof that it did not happen."),
        ("Should I call the police?", CANNOT),
        ("How many knives?", CANNOT),
    ],
)
def test_questions_are_answered_from_facts(question: str, told: str) -> None:
    assert answer(question, FACTS, None) == told


def test_when_and_what_come_from_the_explanation() -> None:
    explained = ground(said(), known(share=0.1), LABELS)
    assert answer("When was it?", FACTS, explained) == "From 0:12 to 0:18."
    assert answer("What happens here?", FACTS, explained) == explained.text
    assert answer("How many people?", (), explained) == "Nobody counted them: objects were not looked for."


def test_a_zone_is_named_and_its_people_are_counted_once() -> None:
    facts = (Fact("people", "2 people at once", 2.0, 0.8), Fact("people in zone", '2 people in "yard"', 2.0, 0.8))
    assert where(facts) == 'in "yard"'
    assert where((facts[0], Fact("people in zone", '1 person in "yard"', 1.0, 0.8))) == '1 person in "yard"'
