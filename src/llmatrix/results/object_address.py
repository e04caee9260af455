"""Where an object store is: its URL, and how this machine may reach it.

Credentials never stand in a URL, so they never reach an experiment file, a record or a log:
they come from the usual environment variables, the machine's own identity, or, for S3, the
keys of a profile in ``~/.aws``.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from llmatrix.errors import UserError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

SCHEMES: Final = {"s3": "a bucket", "gs": "a bucket", "az": "a container"}
"""Kinds of object stores, and what each names first."""
SETTINGS: Final = ("endpoint", "region")
"""What a URL may say after ``?``, for ``s3://`` only."""
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
_PROFILE_KEYS: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store is tried: a call is repeated after a pause that doubles each time.

    Attributes:
        retries: repetitions of one call; failures of the service and dropped connections count.
        first_pause_s: before the first repetition; spread at random, so that many callers that
            were turned away together do not come back together.
        most_pause_s: no pause is longer.
        in_all_s: no repetition begins later than this after the first call.
        answer_s: how long one call may take.
    """

    retries: int = 8
    first_pause_s: float = 0.2
    most_pause_s: float = 5.0
    in_all_s: float = 60.0
    answer_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Address:
    """An object store's URL, taken apart.

    Attributes:
        url: as the user wrote it, without a slash at its end.
        prefix: what stands before every name, without slashes around it; may be empty.
    """

    url: str
    scheme: str
    bucket: str
    prefix: str
    settings: Mapping[str, str]


def parse(url: str) -> Address:
    """Take ``s3://bucket/prefix`` (``gs://``, ``az://``) apart.

    ``s3://`` takes ``?endpoint=https://host:port&region=name`` for a service other than AWS,
    where ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` do not say it already.

    Raises:
        UserError: it is none, or carries credentials; those are not repeated.
    """
    parts = urlsplit(url)
    what = SCHEMES[parts.scheme]
    if "@" in parts.netloc:
        raise UserError(
            f"a store's URL carries no credentials: write {parts.scheme}://bucket/prefix and give "
            f"them by environment variables"
        )
    shown = url.partition("?")[0]
    if not _BUCKET.fullmatch(parts.netloc):
        raise UserError(
            f"'{shown}' names no store: {what} comes after {parts.scheme}://, of at least 3 "
            f"letters, digits, '.', '_' or '-', such as {parts.scheme}://results/team"
        )
    settings = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key in settings:
        if parts.scheme != "s3" or key not in SETTINGS:
            raise UserError(
                f"'{shown}' cannot take the setting '{key}': only s3:// takes some, and they are "
                f"{' and '.join(SETTINGS)}; credentials come from environment variables"
            )
    endpoint = settings.get("endpoint")
    if endpoint is not None:
        _check_endpoint(endpoint, shown)
    prefix = parts.path.strip("/")
    query = f"?{parts.query}" if parts.query else ""
    return Address(
        url=f"{parts.scheme}://{parts.netloc}{f'/{prefix}' if prefix else ''}{query}",
        scheme=parts.scheme,
        bucket=parts.netloc,
        prefix=prefix,
        settings=settings,
    )


def _check_endpoint(endpoint: str, shown: str) -> None:
    target = urlsplit(endpoint)
    if target.scheme not in {"http", "https"} or not target.hostname or "@" in target.netloc:
        raise UserError(
            f"'{shown}': its endpoint is no address such as https://host:9000 (without credentials)"
        )


def connect(address: Address, patience: Patience) -> Client:
    """Make the client of a store; nothing is sent yet."""
    import obstore.store  # noqa: PLC0415 - 20 ms and 15 MB that a folder does not need

    reach: dict[str, Any] = {
        "prefix": address.prefix or None,
        "client_options": {
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=patience.answer_s),
        },
        "retry_config": {
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.in_all_s),
            "backoff": {
                "init_backoff": timedelta(seconds=patience.first_pause_s),
                "max_backoff": timedelta(seconds=patience.most_pause_s),
                "base": 2,
            },
        },
    }
    if address.scheme == "gs":
        return obstore.store.GCSStore(address.bucket, **reach)
    if address.scheme == "az":
        return obstore.store.AzureStore(address.bucket, **reach)
    settings: dict[str, Any] = {**profile(os.environ), **address.settings}
    if endpoint_of(address, settings).startswith("http://"):
        # The user named an endpoint without TLS, so that is what is meant.
        reach["client_options"]["allow_http"] = True
    # Bulk deletion is not offered by every service, and one name at a time is all we delete.
    return obstore.store.S3Store(address.bucket, disable_bulk_delete=True, **settings, **reach)


def endpoint_of(address: Address, settings: Mapping[str, str] | None = None) -> str:
    """Say which server answers for the store, for people; AWS's own where none is named."""
    if address.scheme != "s3":
        return {"gs": "Google Cloud Storage", "az": "Azure Blob Storage"}[address.scheme]
    if "endpoint" in address.settings:
        return address.settings["endpoint"]
    for variable in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        if os.environ.get(variable):
            return os.environ[variable]
    return (settings or {}).get("endpoint") or "Amazon S3"


def profile(environment: Mapping[str, str]) -> dict[str, str]:
    """Read the keys of the user's AWS profile, where the environment has none.

    The environment wins over files, as in AWS's own tools. Profiles that log in by a browser
    or assume a role have no keys in these files; the guide tells how to use them.
    """
    if environment.get("AWS_ACCESS_KEY_ID") or environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return {}
    home = Path(environment.get("HOME") or Path.home()) / ".aws"
    name = environment.get("AWS_PROFILE") or "default"
    section = name if name == "default" else f"profile {name}"
    files = (
        (environment.get("AWS_CONFIG_FILE") or home / "config", section),
        (environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials", name),
    )
    found: dict[str, str] = {}
    for file, heading in files:
        reader = configparser.RawConfigParser()
        try:
            reader.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise UserError(
                f"{file}: cannot be read as AWS's tools write it, at line "
                f"{getattr(error, 'lineno', '?')}; mend it or set AWS_ACCESS_KEY_ID"
            ) from None
        if reader.has_section(heading):
            found |= {ours: v for k, ours in _PROFILE_KEYS.items() if (v := reader[heading].get(k))}
    if environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"):
        found.pop("region", None)
    if any(environment.get(f"AWS_ENDPOINT{end}") for end in ("", "_URL", "_URL_S3")):
        found.pop("endpoint", None)
    return found
