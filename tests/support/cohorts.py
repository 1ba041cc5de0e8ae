"""Cohorts and their figures at random, for properties of the liability report."""

from hypothesis import strategies as st

from services.ledger import revenue
from services.ledger.revenue import Cohort, Figures, Line

# A thousand wallets at their limit, so that a product of two amounts is far beyond 64 bits.
AMOUNT_MAX = 10**18 - 1

RATES = st.integers(0, 10_000)
COHORTS = st.builds(
    Cohort,
    month=st.sampled_from(["2026-09", "2026-10", "2027-01"]),
    campaign_id=st.text(max_size=12)
    | st.sampled_from(["", "spring", "=1+1", "-2", "@x", "'", "a;=b", 'a",=b', "\r\n"]),
    asset=st.sampled_from(["EUR", "credits", "points"]),
)


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    """Draws figures that hold together, small ones as often as large ones."""
    amounts = st.integers(0, 20) | st.integers(0, AMOUNT_MAX)
    redeemed, expired, clawed_back, open_ = (draw(amounts) for _ in range(4))
    issued = redeemed + expired + clawed_back + open_
    allocated_value = draw(amounts) if issued else 0
    return Figures(
        issued=issued,
        redeemed=redeemed,
        expired=expired,
        clawed_back=clawed_back,
        open=open_,
        pending=draw(amounts),
        allocated_value=allocated_value,
        clawed_back_value=draw(st.integers(0, allocated_value)),
    )


def lines() -> st.SearchStrategy[list[Line]]:
    """Draws the lines of a report, one a cohort."""
    return st.lists(
        st.builds(revenue.assess, COHORTS, figures(), RATES), max_size=12, unique_by=lambda line: line.cohort
    )
