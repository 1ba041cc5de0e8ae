"""What `./plaudit replay activity` promises: over HTTP, shuffled, in two parallel halves and twice, nothing changes."""

import json
import random
import subprocess
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from services.devstack.errors import CannotRunError
from services.devstack.replay.activity import ACTIVITY
from services.devstack.replay.rows import Event, RecordingFile
from tests.devstack.stacks import UpProcess, command, environment
from tests.support import activity
from tests.support.waiting import eventually


def read(path: Path) -> tuple[list[Event], list[str]]:
    """Reads a whole recording: its events and its complaints."""
    complaints: list[str] = []
    with RecordingFile(ACTIVITY, path) as file:
        return list(file.events(complaints.append)), complaints


def test_reads_row_with_its_offset(tmp_path: Path) -> None:
    """A row becomes an event that keeps what its author's clock showed; a malformed one is told by its line."""
    rows = ["e1,u1,2021-08-25T10:01:32-03:30", "e2,u1,2021-08-25T10:01:32Z", "e3,u1,2021-02-30T10:01:32Z", "e4,u1,now"]
    (tmp_path / "rows.csv").write_text("\n".join([",".join(activity.HEADER), *rows]) + "\n")
    (first, second), complaints = read(tmp_path / "rows.csv")

    assert first == {
        "eventId": "e1",
        "type": "activity.contributed",
        "memberId": "u1",
        "occurTime": "2021-08-25T10:01:32-03:30",
        "utcOffsetMinutes": -210,
    }
    assert second["utcOffsetMinutes"] == 0
    assert [complaint.split(":")[0] for complaint in complaints] == ["line 4", "line 5"]


def test_refuses_another_recording(tmp_path: Path) -> None:
    """A file without the columns of activity is none."""
    (tmp_path / "rows.csv").write_text("purchase_id,customer_id\np1,c1\n")
    with pytest.raises(CannotRunError, match="lacks the columns"):
        read(tmp_path / "rows.csv")


def start(stack: UpProcess, file: Path) -> "subprocess.Popen[str]":
    """Starts a replay and does not wait for it."""
    arguments = command("replay", "activity", file, "--data-dir", stack.data_dir, "--json")
    return subprocess.Popen(arguments, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(replay: "subprocess.Popen[str]") -> dict[str, int]:
    """Waits for a replay and gives its figures."""
    told, complaints = replay.communicate()
    assert replay.returncode == 0, complaints
    figures: dict[str, int] = json.loads(told)
    return figures


def ranking(client: httpx.Client) -> list[tuple[int, str, int]]:
    """Tells the ranking of all time."""
    shown = client.get("/v1/leaderboards/contributors", params={"period": "ALL_TIME", "pageSize": 1000})
    places = shown.raise_for_status().json()["standings"]
    return [(int(each["rank"]), each["memberId"], int(each["value"])) for each in places]


def reached(client: httpx.Client, actor_id: str) -> activity.Expected:
    """Tells what an actor has reached, in the words of the oracle."""
    found = client.get(f"/v1/members/{actor_id}/progress").raise_for_status().json()
    daily = next(each for each in found["streaks"] if each["streak"] == "daily")
    week = next(each for each in found["records"] if (each["metric"], each["period"]) == ("contributions", "WEEK"))
    badges = {each["badge"]: datetime.fromisoformat(each["awardTime"]) for each in found["badges"]}
    return activity.Expected(
        longest=(daily["longest"], daily["longestStartDate"]),
        last=(daily["last"], daily["lastStartDate"]),
        last_date=daily["lastDate"],
        best_week=(int(week["value"]), week["startDate"]),
        badges=badges,
    )


async def test_replay_gives_what_the_rows_say(stack: UpProcess, tmp_path: Path) -> None:
    """Two shuffled halves at once, and then all of it again, give every actor what the rows alone say."""
    rows = list(activity.rows())
    random.Random(3).shuffle(rows)
    half = len(rows) // 2
    halves = [
        start(stack, activity.write(tmp_path / f"{name}.csv", some))
        for name, some in {"one": rows[:half], "other": rows[half:]}.items()
    ]
    assert sum(finished(each)["accepted"] for each in halves) == len(rows)
    again = finished(start(stack, activity.write(tmp_path / "all.csv", activity.rows())))
    assert (again["accepted"], again["duplicates"]) == (0, len(rows))

    with stack.client() as client:
        await eventually(lambda: ranking(client) == activity.standings())
        expected = activity.expected()
        assert {actor_id: reached(client, actor_id) for actor_id in expected} == expected
