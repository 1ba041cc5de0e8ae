"""The HTTP API that commands call: where it is, and the key that opens it."""

import argparse
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Api:
    """Is where an API is, and a key for it."""

    url: str
    api_key: str

    @property
    def headers(self) -> dict[str, str]:
        """Gives the headers of every call."""
        return {"authorization": f"Bearer {self.api_key}"}

    @property
    def trust_env(self) -> bool:
        """Tells whether a proxy of the environment may be used: it is no way to ourselves."""
        return httpx.URL(self.url).host not in LOOPBACK_HOSTS


def find_api(parsed: argparse.Namespace) -> Api:
    """Finds out what to call: what --url and --api-key say, and for the rest what the data directory says."""
    url, api_key = parsed.url, parsed.api_key
    if url is None or api_key is None:
        data_dir = DataDir.open(parsed.data_dir)
        if url is None and not data_dir.in_use():
            raise CannotRunError(f"nothing runs on {parsed.data_dir}; start it with ./plaudit up, or name a --url")
        url = url or data_dir.load_stack().url
        api_key = api_key or data_dir.api_key()
    if not api_key:
        raise CannotRunError(f"there is no API key in {data_dir.credentials_path} yet; name one with --api-key")
    if not api_key.isascii() or not api_key.isprintable():
        raise CannotRunError("--api-key is not a key of Plaudit")
    try:
        scheme = httpx.URL(url).scheme
    except httpx.InvalidURL:
        scheme = ""
    if scheme not in ("http", "https"):
        raise CannotRunError(f"--url is not a URL of the form http://host:port: {url!r}")
    return Api(url, api_key)


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """Reads the problem details of an answer; empty where it has none."""
    try:
        problem = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}
