"""Words that can be trusted: rendered from the fields, and none where scorer, sentence and fields name different things."""

from typing import Any

import pytest

from vlad.sim.captions import REASONS
from vlad.types import Explanation, Segment
from vlad.wording import UNSURE, Reading, chance_of, kinds_in, reading

FIGHT = {
    "what": "fighting: two people hit each other", "who": "two people", "where": "in an alley", "why": "people use violence against each other"
}  # fmt: skip


def read(label: str, text: str, *, verdict: str = "anomaly", **more: Any) -> Reading:
    return reading({"verdict": verdict, "text": text, **more}, label)


def test_the_sentence_is_rendered_from_the_fields() -> None:
    found = read("fighting", "This appears to show fighting.", fields=FIGHT, probability=1.0)
    assert found.text == "This appears to show fighting: two people hit each other (two people; in an alley)."
    assert (found.sure, found.chance, found.fields) == (True, "very likely an anomaly, by its own words", FIGHT)


@pytest.mark.parametrize(
    ("label", "text", "fields"),
    [
        ("fighting", "This appears to show robbery: a robber in a white top.",
         {"what": "road accident: the robber threatens the other", "why": "a vehicle hits something at speed"}),  # three classes in one panel
        ("fighting", "This appears to show robbery: two people.", {"what": "robbery: someone is threatened"}),
        ("", "This appears to show arson.", {"what": "fighting: two people hit each other"}),
        ("explosion", "a fireball and a person in a blue top", {"what": "explosion: a fireball", "who": "a person in a purple top"}),
        ("robbery", "This appears to show robbery, in a street.", {"what": "robbery: a bag", "where": "in a parking lot"}),
    ],
)  # fmt: skip
def test_words_that_contradict_one_another_are_not_passed_on(label: str, text: str, fields: dict[str, str]) -> None:
    """B3: no crime is named where class, sentence and fields disagree."""
    assert read(label, text, fields=fields, probability=0.99) == Reading(UNSURE, False)


def test_of_what_is_said_in_two_ways_neither_is_shown() -> None:
    """B3: "a person in a blue top" in the sentence, "a white top" in the field, of a moment whose kind all agree on."""
    fields = {**FIGHT, "who": "a person in a white top and a person in a red top"}
    found = read(
        "fighting", "This appears to show fighting: a person in a blue top and a person in a red top.", fields=fields
    )
    assert found.text == "This appears to show fighting: two people hit each other (in an alley)."
    assert "who" not in found.fields


def test_a_normal_verdict_that_names_a_crime_is_not_sure() -> None:
    assert read("", "This appears to show fighting.", verdict="normal").text == UNSURE
    calm = read("fighting", "It appears that nothing happens.", verdict="normal", fields={"what": "people walk"})
    assert (calm.text, calm.sure) == ("This appears to be normal: people walk.", True)


def test_an_unclear_verdict_is_not_sure_and_a_caption_has_none() -> None:
    assert read("fighting", "Two people fight.", verdict="unclear", raw='{"verdict": "unclear"}').text == UNSURE
    caption = read("fighting", "Two people fight.", verdict="unclear", raw='{"text": "Two people fight."}')
    assert caption == Reading("It appears: Two people fight.", True)
    assert read("arson", "Two people fight.", verdict="unclear", raw='{"text": "Two people fight."}').text == UNSURE
    assert read("", "", verdict="anomaly").text == UNSURE


def test_the_value_reads_as_its_json() -> None:
    said = Explanation(Segment(0.0, 2.0, 0.9, 1.0, "fighting"), "anomaly", "A fight.", FIGHT, probability=0.8)
    assert reading(said, "fighting") == read("fighting", "A fight.", fields=FIGHT, probability=0.8)


def test_chances_are_words() -> None:
    told = [chance_of(p) for p in (1.0, 0.8, 0.5, 0.1, 0.0)]
    assert len(set(told)) == 5
    assert not any(c.isdigit() for words in told for c in words)


@pytest.mark.parametrize("label", REASONS)
def test_no_class_of_the_simulated_world_contradicts_its_own_reason(label: str) -> None:
    fields = {"what": f"{label}: something", "why": REASONS[label]}
    assert kinds_in(label)
    assert read(label, f"This appears to show {label}.", fields=fields).sure


def test_what_is_denied_is_not_named() -> None:
    assert kinds_in("No fight and no fire can be seen.") == frozenset()
    assert kinds_in("no fire; two people fight") == {"violence"}
