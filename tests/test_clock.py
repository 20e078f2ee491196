"""When a clip was recorded: names as recorders write them, zones, and days of 23 and 25 hours."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from vlad.clock import at, day_of, from_name, iso, plausible, zone_of
from vlad.errors import InputError

MOMENT = datetime(2024, 1, 31, 14, 25, 30, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
NAMES = (
    "20240131_142530.mp4", "2024-01-31_14-25-30.mkv", "ch01_20240131142530.mp4", "192.168.1.64_01_20240131142530123_TIMING.mp4",
    "NVR_ch1_main_20240131142530_20240131145530.dav", "20240131_142530_1A2B_ACCC8E012345.mkv", "RecM01_20240131_142530_142600_0_6D28.mp4",
    "Front_Door_2024-01-31_14.25.30.mp4", "VID_20240131_142530.mp4", "WhatsApp Video 2024-01-31 at 14.25.30.mp4", "31-01-2024_14-25-30.avi",
    "2024.01.31-14.25.30.mp4", "Lobby 2024-01-31 02-25-30 PM.avi", "20240131T132530Z.mp4", "2024-01-31T14:25:30+0100.mp4", "cam_1706707530.mp4",
    "front-1706707530.123456-abc.mp4", "1706707530123.mp4", "cam 2024-01-31_13.25.30_UTC.mp4",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_as_recorders_write_them(name: str) -> None:
    assert from_name(name, "Europe/Berlin") == MOMENT


@pytest.mark.parametrize(
    "name",
    ["lobby.mp4", "20240131.mp4", "20241331_142530.mp4", "20240131_256199.mp4", "03-04-2024_14-25-30.mp4", "99991231_235959.mp4",
     "1234567890.mp4", "19040101_000000.mp4", "Fighting033_x264.mp4", "20991231_120000.mp4", "2024013114253.mp4", ""],
)  # fmt: skip
def test_names_that_say_nothing_or_too_much(name: str) -> None:
    assert from_name(name, "+00:00") is None


def test_a_later_time_of_a_name_counts_where_the_first_makes_no_sense() -> None:
    assert from_name("20249999_999999_20240131_142530", "Europe/Berlin") == MOMENT


def test_iso_with_an_offset() -> None:
    assert iso(MOMENT, "Europe/Berlin") == "2024-01-31T14:25:30+01:00"
    assert iso(MOMENT + 12.25, "+05:30") == "2024-01-31T18:55:42.250+05:30"
    assert datetime.fromisoformat(iso(MOMENT)).timestamp() == MOMENT


def test_a_day_may_have_another_number_of_hours() -> None:
    zone = zone_of("Europe/Berlin")
    hours = [(e - b) / 3600 for b, e in (day_of(d, zone) for d in ("2024-01-31", "2024-03-31", "2024-10-27"))]
    assert hours == [24, 23, 25]
    assert at(day_of("2024-01-31", zone)[0], zone).isoformat() == "2024-01-31T00:00:00+01:00"


@pytest.mark.parametrize("zone", ["Mars/Base", "../../etc/passwd", "+25:00", "x" * 10_000, "\x00", "+1"])
def test_a_zone_that_is_none(zone: str) -> None:
    with pytest.raises(InputError, match="zone") as told:
        zone_of(zone)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("day", ["", "today", "2024-02-30", "9999-12-31", "2024-1-1"])
def test_a_day_that_is_none(day: str) -> None:
    with pytest.raises(InputError, match="expected one such as"):
        day_of(day, zone_of("+00:00"))


def test_what_is_plausible() -> None:
    assert [plausible(s, 1.8e9) for s in (None, 0.0, -2.0e9, 1.7e9, 1.8e9 + 3600, 1.9e9)] == [
        False,
        False,
        False,
        True,
        True,
        False,
    ]
