"""The data directory of one stack: what is in it, who may use it, and for how long."""

import base64
import contextlib
import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from services.devstack import processes
from services.devstack.errors import CannotRunError

FORMAT = 1
KEY_BYTES = 32
LOCK_TRIES = 5  # `in_use` takes the lock for a moment
LOCK_PAUSE_S = 0.05
OURS = frozenset({"lock", "stack.json", "stack.json.new"})  # what a start that was cut off may leave


@dataclass(slots=True)
class Stack:
    """Is what a stack remembers of itself in `stack.json`."""

    format: int = FORMAT
    ports: dict[str, int] = field(default_factory=dict)  # of gRPC, by service
    url: str = ""  # of HTTP
    dsns: dict[str, str] = field(default_factory=dict)  # by service
    external: list[str] = field(default_factory=list)  # services whose databases are on a server of the person's own


class DataDir:
    """Is the data directory at `path`; `create` makes one, `open` takes one that is there.

    Both raise CannotRunError for a directory that is not a whole data directory of ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.run = path / "run"
        self.postgres = path / "postgres"
        self.redis = path / "redis"
        self.credentials_path = path / "credentials.json"
        self._lock = path / "lock"
        self._stack = path / "stack.json"
        self._token_key = path / "token_key"
        self._seal_key = path / "seal_key"
        self._signal_key = path / "signal_key"
        self._notify_keys = (path / "link_key", path / "secret_key")

    @classmethod
    def create(cls, path: Path) -> "DataDir":
        """Takes the data directory at `path`, made where it is missing or empty."""
        data_dir = cls(path.absolute())
        try:
            # Root's PostgreSQL runs as another user, who passes through.
            data_dir.path.mkdir(parents=True, exist_ok=True, mode=0o711 if processes.is_root() else 0o700)
            found = {entry.name for entry in data_dir.path.iterdir()}
        except OSError as error:
            raise CannotRunError(f"cannot make the data dir {path}: {error.strerror}") from error
        if "stack.json" not in found and not found <= OURS:
            raise CannotRunError(f"{path} is not empty and was not made by Plaudit; name another with --data-dir")
        return data_dir

    @classmethod
    def open(cls, path: Path) -> "DataDir":
        """Takes the data directory at `path`, which must be there."""
        data_dir = cls(path.absolute())
        if not data_dir._stack.is_file():
            raise CannotRunError(f"{path} is not a data dir of Plaudit; make one with ./plaudit up --data-dir {path}")
        return data_dir

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Uses the directory alone. Raises CannotRunError where another process does."""
        handle = self._take_lock()
        for _ in range(LOCK_TRIES):
            if handle is not None:
                break
            time.sleep(LOCK_PAUSE_S)
            handle = self._take_lock()
        try:
            if handle is None:
                raise CannotRunError(f"data dir {self.path} is in use by pid {self.holder()}")
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            if not self._stack.exists():
                self.save_stack(Stack())  # before anything else is made, so that the directory is known as ours
            self._make_folders()
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def in_use(self) -> bool:
        """Says whether a process uses the directory now."""
        handle = self._take_lock()
        if handle is None:
            return True
        os.close(handle)
        return False

    def holder(self) -> str:
        """Tells the id of the process that uses the directory."""
        try:
            return self._lock.read_text().strip() or "?"
        except OSError:
            return "?"

    def _take_lock(self) -> int | None:
        try:
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise CannotRunError(f"cannot use the data dir {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno == errno.EWOULDBLOCK:
                return None
            raise CannotRunError(f"cannot lock the data dir {self.path}: {error.strerror}") from error
        return handle

    def _make_folders(self) -> None:
        try:
            for folder in (self.logs, self.run):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise CannotRunError(f"cannot use the data dir {self.path}: {error.strerror}") from error

    def load_stack(self) -> Stack:
        """Reads what the stack remembers of itself; a new one where there is nothing yet."""
        if not self._stack.exists():
            return Stack()
        known = {each.name for each in fields(Stack)}
        try:
            read = json.loads(self._stack.read_text())
            stack = Stack(**{name: value for name, value in read.items() if name in known})
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CannotRunError(f"data dir {self.path} is broken: stack.json cannot be read ({error})") from error
        if stack.format != FORMAT:
            raise CannotRunError(f"data dir {self.path} is of another version of Plaudit (format {stack.format})")
        fresh = Stack()
        if any(type(getattr(stack, name)) is not type(getattr(fresh, name)) for name in known):
            raise CannotRunError(f"data dir {self.path} is broken: stack.json holds something else than was written")
        return stack

    def save_stack(self, stack: Stack) -> None:
        """Writes what the stack remembers of itself."""
        self.write_private(self._stack, json.dumps(asdict(stack), indent=2) + "\n")

    def token_key(self) -> bytes:
        """Gives the private key that signs tokens, made at first. Raises CannotRunError where it is broken."""
        return self._key(self._token_key)

    def seal_key(self) -> bytes:
        """Gives the private key that signs heads of seals, made at first. Raises CannotRunError where it is broken."""
        return self._key(self._seal_key)

    def signal_key(self) -> bytes:
        """Gives the key that hashes signals of referrals, made at first. Raises CannotRunError where it is broken."""
        return self._key(self._signal_key)

    def service_key(self, name: str) -> bytes:
        """Gives the private key of a service, made at first. Raises CannotRunError where it is broken."""
        return self._key(self.path / f"{name}_key")

    def notify_keys(self) -> tuple[bytes, bytes]:
        """Gives the keys of links in mails and of kept secrets, made at first. Raises CannotRunError where broken."""
        link_key, secret_key = self._notify_keys
        return self._key(link_key), self._key(secret_key)

    def _key(self, path: Path) -> bytes:
        if not path.exists():
            self.write_private(path, base64.b64encode(os.urandom(KEY_BYTES)).decode() + "\n")
        try:
            key = base64.b64decode(path.read_text().strip(), validate=True)
        except (OSError, ValueError) as error:
            raise CannotRunError(f"data dir {self.path} is broken: {path.name} cannot be read ({error})") from error
        if len(key) != KEY_BYTES:
            raise CannotRunError(f"data dir {self.path} is broken: {path.name} holds {len(key)} bytes, not {KEY_BYTES}")
        return key

    def api_key(self) -> str | None:
        """Gives the API key of the demo program; None where there is none that can be read."""
        try:
            key = json.loads(self.credentials_path.read_text())["api_key"]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return key if isinstance(key, str) and re.fullmatch(r"[\x21-\x7e]+", key) else None

    def save_credentials(self, *, program: str, api_key: str) -> None:
        """Writes the API key of the demo program, for this user's eyes."""
        self.write_private(self.credentials_path, json.dumps({"program": program, "api_key": api_key}) + "\n")

    def write_private(self, path: Path, text: str) -> None:
        """Replaces a file in one step by one that this user alone can read."""
        draft = path.with_name(path.name + ".new")
        try:
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            raise CannotRunError(f"cannot write {path}: {error.strerror}") from error
