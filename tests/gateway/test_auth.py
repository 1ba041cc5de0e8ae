"""Who calls: keys and tokens, what is remembered of them and for how long."""

import asyncio
import time
from dataclasses import dataclass, field

import httpx
import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway import auth
from services.gateway.auth import Authenticator
from services.kernel import errors, tokens
from services.kernel.errors import DomainError
from tests.gateway import backend
from tests.gateway.backend import MINTER, Script

VERIFIER = tokens.Verifier([MINTER.public_key()])
KEY = "plk_a_b"


@dataclass
class Trade:
    """Stands for the program service, and for the clock."""

    now_s: float = field(default_factory=time.time)
    calls: list[str] = field(default_factory=list)
    lifetime_s: int = 300
    refusal: DomainError | None = None
    gate: asyncio.Event | None = None

    def clock(self) -> float:
        """Tells the time."""
        return self.now_s

    async def __call__(self, api_key: str) -> str:
        """Trades a key."""
        self.calls.append(api_key)
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        return backend.token(lifetime_s=self.lifetime_s)


@pytest.fixture
def trade() -> Trade:
    """Lends a program service."""
    return Trade()


@pytest.fixture
def authenticator(trade: Trade) -> Authenticator:
    """Makes an authenticator over it."""
    return Authenticator(VERIFIER, trade, trade.clock)


async def reason(authenticator: Authenticator, header: str | None) -> str:
    """Tells why a header is refused."""
    with pytest.raises(DomainError) as raised:
        await authenticator.authenticate(header)
    return raised.value.reason


async def test_key_is_traded_once_a_minute(authenticator: Authenticator, trade: Trade) -> None:
    """A key is traded on its first call, and again when a minute has passed."""
    for later_s, calls in ((0, 1), (59.9, 1), (0.1, 2), (1, 2)):
        trade.now_s += later_s
        credential = await authenticator.authenticate(f"Bearer {KEY}")
        assert (credential.caller.program_id, len(trade.calls)) == ("demo", calls)


async def test_key_is_not_believed_past_its_token(authenticator: Authenticator, trade: Trade) -> None:
    """A key whose token ends sooner than in a minute is traded again when it does."""
    trade.lifetime_s = 10
    await authenticator.authenticate(f"Bearer {KEY}")
    trade.now_s += 11
    await authenticator.authenticate(f"Bearer {KEY}")
    assert len(trade.calls) == 2


async def test_concurrent_calls_share_one_trade(authenticator: Authenticator, trade: Trade) -> None:
    """A hundred first calls of a key trade it once, and one that goes away takes nothing from the others."""
    trade.gate = asyncio.Event()
    waiting = [asyncio.create_task(authenticator.authenticate(f"Bearer {KEY}")) for _ in range(100)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    trade.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert {each.caller.program_id for each in results[1:] if isinstance(each, auth.Credential)} == {"demo"}
    assert trade.calls == [KEY]


async def test_unknown_key_is_remembered_for_moments(authenticator: Authenticator, trade: Trade) -> None:
    """A key that is not known is not asked about again for five seconds, after which it may have been made."""
    trade.refusal = errors.credential_invalid("There is no such key.")
    for _ in range(3):
        assert await reason(authenticator, f"Bearer {KEY}") == "CREDENTIAL_INVALID"
    assert len(trade.calls) == 1
    trade.refusal = None
    trade.now_s += 5
    assert (await authenticator.authenticate(f"Bearer {KEY}")).caller.program_id == "demo"


async def test_silence_of_service_is_not_remembered(authenticator: Authenticator, trade: Trade) -> None:
    """A key that nobody could answer for is asked about again at once."""
    trade.refusal = errors.dependency_unavailable("program")
    assert await reason(authenticator, f"Bearer {KEY}") == "DEPENDENCY_UNAVAILABLE"
    trade.refusal = None
    assert (await authenticator.authenticate(f"Bearer {KEY}")).caller.program_id == "demo"


async def test_guessing_is_bounded(authenticator: Authenticator, trade: Trade, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guessed keys take a bounded place in memory and a bounded number of trades at once."""
    monkeypatch.setattr(auth, "EXCHANGES_MAX", 3)
    trade.gate = asyncio.Event()
    waiting = [asyncio.create_task(authenticator.authenticate(f"Bearer plk_{number}")) for number in range(3)]
    await asyncio.sleep(0)
    assert await reason(authenticator, "Bearer plk_more") == "QUEUE_FULL"
    trade.gate.set()
    await asyncio.gather(*waiting)
    cache: auth.ExpiringCache[int, int] = auth.ExpiringCache(10, trade.clock)
    for number in range(100):
        cache.put(number, number, trade.now_s + 1)
    assert (len(cache), cache.get(99), cache.get(89)) == (10, 99, None)


async def test_foreign_token_for_key_is_our_fault(authenticator: Authenticator, trade: Trade) -> None:
    """A key whose token nobody here can verify is no fault of its holder."""

    async def trade_badly(_: str) -> str:
        return "a.b.c"

    assert await reason(Authenticator(VERIFIER, trade_badly), f"Bearer {KEY}") == "DEPENDENCY_UNAVAILABLE"
    assert (await authenticator.authenticate(f"bearer {KEY}")).token.count(".") == 2


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        KEY,
        f"Basic {KEY}",
        "Bearer plk_",
        "Bearer plk_a b",
        "Bearer plk_é",
        "Bearer plk_" + "a" * 300,
        "Bearer a.b.c",
        "Bearer " + "a" * 5000,
        f"Bearer {backend.token()}x",
        f"Bearer {backend.token('*')}",
        "Bearer " + tokens.Minter(b"x" * 32).mint(subject="s", program_id="demo", scopes=[], lifetime_s=60),
        "Bearer " + jwt.encode({"iss": "plaudit", "sub": "s", "exp": 9e9, "prg": "demo", "scp": []}, "k" * 32),
        "Bearer " + jwt.encode({"iss": "plaudit", "sub": "s", "exp": 9e9, "prg": "demo", "scp": []}, "", "none"),
    ],
    ids=lambda header: str(header)[:24],
)
async def test_bad_credential_is_refused(header: str | None, authenticator: Authenticator, trade: Trade) -> None:
    """No credential, a malformed, forged or foreign one, and that of a service are all refused, unasked."""
    assert await reason(authenticator, header) == "CREDENTIAL_INVALID"
    assert trade.calls == []


@settings(deadline=None)
@given(st.text(max_size=60) | st.lists(st.text("abcXYZ019_-=", max_size=30), min_size=3, max_size=3).map(".".join))
async def test_any_credential_is_refused_without_accident(secret: str) -> None:
    """Whatever text comes as a credential, it is refused and breaks nothing."""

    async def unknown(_: str) -> str:
        raise errors.credential_invalid("There is no such key.")

    assert await reason(Authenticator(VERIFIER, unknown), f"Bearer {secret}") == "CREDENTIAL_INVALID"


def test_http_refuses_without_credential(stranger: httpx.Client, script: Script) -> None:
    """A call without a valid credential is a 401 that says how to authenticate, and reaches no service."""
    del script
    for headers in (
        {},
        {"authorization": "Bearer plk_nobody_knows"},
        {"authorization": f"Bearer {backend.token('*')}"},
    ):
        response = stranger.get("/v1/rules", headers=headers)
        assert (response.status_code, response.json()["reason"]) == (401, "CREDENTIAL_INVALID")
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert "ratelimit" not in response.headers


def test_http_refuses_two_credentials(stranger: httpx.Client) -> None:
    """Two Authorization headers are refused rather than one of them chosen."""
    headers = [("authorization", f"Bearer {backend.API_KEY}"), ("authorization", f"Bearer {backend.OTHER_API_KEY}")]
    response = stranger.get("/v1/rules", headers=headers)
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "Authorization")


def test_http_calls_as_program_of_credential(stranger: httpx.Client, script: Script) -> None:
    """The program of a call is that of its key or token, whatever else the request says."""
    secrets = {backend.API_KEY: "demo", backend.OTHER_API_KEY: "other", backend.token("third"): "third"}
    for secret, program in secrets.items():
        headers = {"authorization": f"Bearer {secret}", "x-plaudit-program": "demo"}
        assert stranger.get("/v1/rules", headers=headers).status_code == 200
        assert script.last("ListRules").program == program


def test_http_trades_key_once(stranger: httpx.Client, script: Script) -> None:
    """Calls with a key that is known already trade it no more."""
    for _ in range(5):
        assert stranger.get("/v1/rules", headers={"authorization": f"Bearer {backend.API_KEY}"}).status_code == 200
    assert len(script.calls_of("CreateToken")) <= 1


def test_http_says_when_keys_cannot_be_traded(stranger: httpx.Client, script: Script) -> None:
    """While nobody can trade keys, a new one is answered with a 503 and when to come back."""
    script.answers["CreateToken"] = backend.refuse(errors.dependency_unavailable("database"))
    backend.KEYS["plk_new_key"] = backend.KEYS[backend.API_KEY]
    try:
        response = stranger.get("/v1/rules", headers={"authorization": "Bearer plk_new_key"})
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        script.reset()
        assert stranger.get("/v1/rules", headers={"authorization": "Bearer plk_new_key"}).status_code == 200
    finally:
        del backend.KEYS["plk_new_key"]
