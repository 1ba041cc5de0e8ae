"""What gamification publishes, as messages of its `events.proto`."""

from google.protobuf.message import Message
from plaudit.gamification.v1 import events_pb2

from services.gamification import convert, model
from services.kernel import feed, times

ForMember = events_pb2.LevelReached | events_pb2.BadgeAwarded | events_pb2.StreakReached | events_pb2.RecordBeaten


def encode(event: model.Published) -> feed.Outgoing:
    """Turns what happened into what the feed keeps."""
    if isinstance(event, model.Closed):
        return _outgoing("", _closed(event))
    return _outgoing(event.milestone.member_id, _reached(event))


def _closed(event: model.Closed) -> Message:
    return events_pb2.LeaderboardClosed(
        leaderboard_id=event.leaderboard.definition_id,
        display_name=event.leaderboard.display_name,
        period=convert.period_to_proto(event.period),
        start_date=event.start.isoformat(),
        member_count=event.member_count,
        standings=convert.standings_to_proto(event.standings),
        close_time=times.to_proto(event.closed_at),
    )


def _reached(event: model.Reached) -> Message:
    milestone, definition = event.milestone, event.definition
    match definition:
        case model.Ladder():
            return _level(event, definition)
        case model.Badge():
            awarded = events_pb2.BadgeAwarded(badge_id=definition.definition_id, display_name=definition.display_name)
            awarded.count, awarded.value = event.count, milestone.value
            return _headed(awarded, event)
        case model.Streak():
            day = milestone.mark.partition("@")[2]
            grown = events_pb2.StreakReached(streak_id=definition.definition_id, length=milestone.value, date=day)
            grown.period = convert.period_to_proto(definition.period)
            return _headed(grown, event)
        case model.Metric():
            period, _, day = milestone.mark.partition(":")
            beaten = events_pb2.RecordBeaten(
                metric_id=definition.definition_id,
                period=convert.period_to_proto(model.Period(period)),
                start_date=day,
                value=milestone.value,
                previous_value=milestone.previous,
            )
            return _headed(beaten, event)
    raise AssertionError("Nothing is reached on a leaderboard; it is closed.")


def _level(event: model.Reached, ladder: model.Ladder) -> Message:
    place = next(index for index, each in enumerate(ladder.levels) if each.level_id == event.milestone.mark)
    level, following = ladder.levels[place], ladder.levels[place + 1] if place + 1 < len(ladder.levels) else None
    message = events_pb2.LevelReached(
        ladder_id=ladder.definition_id,
        level_id=level.level_id,
        display_name=level.display_name,
        unlocks=level.unlocks,
        value=event.milestone.value,
        next_level_id=following.level_id if following else "",
        next_threshold=following.threshold if following else 0,
    )
    return _headed(message, event)


def _headed(message: ForMember, event: model.Reached) -> Message:
    message.member_id, message.org_id = event.milestone.member_id, event.cause.org_id
    message.occur_time.CopyFrom(times.to_proto(event.milestone.reached_at))
    message.causation_depth = event.cause.depth
    return message


def _outgoing(member_id: str, message: Message) -> feed.Outgoing:
    return feed.Outgoing(member_id, message.DESCRIPTOR.full_name, message.SerializeToString())
