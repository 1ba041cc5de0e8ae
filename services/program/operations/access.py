"""Programs and keys: making them, revoking them, and telling who a key speaks for."""

import hashlib
import hmac
import secrets
import time as wall
from collections import OrderedDict

from services.kernel import db
from services.kernel import errors as kernel_errors
from services.kernel.tokens import Caller
from services.program import errors, model
from services.program.operations.context import Context
from services.program.store import access

KEY_PREFIX = "plk"
KEY_ID_BYTES = 10
SECRET_BYTES = 32
# What a product may do. `ledger.write` is not among them: value comes and goes by rules and redemptions.
PRODUCT_SCOPES = (
    "events.read",
    "events.write",
    "feed.read",
    "gamification.read",
    "gamification.write",
    "ledger.read",
    "members.read",
    "members.write",
    "messages.read",
    "messages.write",
    "notify.read",
    "notify.write",
    "progress.read",
    "progress.write",
    "redemptions.read",
    "redemptions.write",
    "referrals.read",
    "referrals.write",
    "rewards.read",
    "rewards.write",
    "rules.read",
    "rules.write",
    "token.create",
)
# How long a good key is believed without a look at the database: the time that a revocation takes to be felt here.
REMEMBER_S = 10.0
REMEMBERED_MAX = 10_000


class Access:
    """Programs and keys over one database."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._callers: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    async def create_program(self, program: model.Program) -> tuple[model.Program, bool]:
        """Makes a program; tells whether the same one stood already. Raises PROGRAM_EXISTS for a different one."""

        async def work(connection: db.Connection) -> tuple[model.Program, bool]:
            now = await self._context.time.now(connection)
            wanted = model.Program(program.program_id, program.display_name, program.time_zone or "UTC", 0, now)
            if await access.insert_program(connection, wanted):
                return wanted, False
            stored = await access.get_program(connection, program.program_id)
            assert stored is not None, "A program that conflicts is there."
            same = (stored.display_name, stored.time_zone) == (wanted.display_name, wanted.time_zone)
            if not same:
                raise errors.program_exists(program.program_id)
            return stored, True

        return await db.transaction(self._context.pool, work)

    async def create_api_key(self, program_id: str, scopes: list[str], display_name: str) -> tuple[str, str]:
        """Makes a key; gives it, which happens only here, and its id. Raises PROGRAM_NOT_FOUND and FIELD_INVALID."""
        unknown = sorted(set(scopes) - {*PRODUCT_SCOPES, "ledger.write"})
        if unknown:
            raise kernel_errors.field_invalid(kernel_errors.Violation("scopes", f"has unknown {', '.join(unknown)}"))
        key_id, secret = secrets.token_hex(KEY_ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)

        async def work(connection: db.Connection) -> None:
            if await access.get_program(connection, program_id) is None:
                raise errors.program_not_found(program_id)
            await access.insert_api_key(
                connection,
                key_id=key_id,
                program_id=program_id,
                secret_hash=_hash(secret),
                scopes=scopes or list(PRODUCT_SCOPES),
                display_name=display_name,
                now=await self._context.time.now(connection),
            )

        await db.transaction(self._context.pool, work)
        return f"{KEY_PREFIX}_{key_id}_{secret}", key_id

    async def revoke_api_key(self, key_id: str) -> None:
        """Revokes a key. Raises API_KEY_NOT_FOUND."""

        async def work(connection: db.Connection) -> bool:
            return await access.revoke_api_key(connection, key_id, await self._context.time.now(connection))

        if not await db.transaction(self._context.pool, work):
            raise errors.api_key_not_found(key_id)
        self._callers.clear()

    async def authenticate(self, api_key: str) -> Caller:
        """Tells who a key speaks for. Raises CREDENTIAL_INVALID."""
        digest = _hash(api_key)
        remembered = self._callers.get(digest)
        if remembered is not None and remembered[0] > wall.monotonic():
            return remembered[1]
        caller = await self._look_up(api_key)
        self._callers[digest] = (wall.monotonic() + REMEMBER_S, caller)
        if len(self._callers) > REMEMBERED_MAX:
            self._callers.popitem(last=False)
        return caller

    async def _look_up(self, api_key: str) -> Caller:
        prefix, _, rest = api_key.partition("_")
        key_id, _, secret = rest.partition("_")
        # Looked at before the database is: what is no key at all costs nothing.
        if prefix != KEY_PREFIX or len(key_id) != 2 * KEY_ID_BYTES or not key_id.isalnum() or not key_id.isascii():
            raise kernel_errors.credential_invalid("The API key is not valid.")
        found = await db.ask(self._context.pool, lambda connection: access.find_api_key(connection, key_id))
        program_id, secret_hash, scopes = found or ("", b"", [])
        if not hmac.compare_digest(secret_hash, _hash(secret)):
            raise kernel_errors.credential_invalid("The API key is not valid.")
        return Caller(f"key:{key_id}", program_id, frozenset(scopes), float("inf"))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
