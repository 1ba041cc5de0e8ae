"""The gamification service makes progress of the program's events: levels, streaks, badges, records and rankings.

What it promises:

G1. An event counts once in a metric (`metric_events_key`, the follower's cursor moves with what it did).
G2. State is a function of the set of events: late, repeated or in any order, they give the same values, streaks,
    awards and rankings (totals are checked against events).
G3. What is reached is published once, when it is first true (`milestones_key`), and is never taken away; its time is
    that of the event that led there in the order in which events occurred, whenever that event came.
G4. A day is the member's local one, as it was reckoned when the event was counted (`metric_events`, never changed).
G5. A ranking that is closed never changes (`closed_standings_key`, privilege); an open one is read from the values.
G6. A comparison is told only of 10 members or more, none with over a quarter of the whole (only such are stored).
G7. A version of a definition never changes (`definition_versions_key`, privilege); what a metric counts neither.
G8. Everything belongs to one program, and every query says which.
"""
