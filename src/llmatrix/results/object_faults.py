"""What an object store's refusal means, in a sentence that says what to do about it."""

from __future__ import annotations

import re
from typing import Final

from llmatrix.errors import StoreFault
from llmatrix.results.object_address import Address, endpoint_of

_CREDENTIALS: Final = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or _SAS_TOKEN",
}
_NO_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound", "specified bucket does not exist")
_REFUSED_KEYS: Final = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
    "AuthenticationFailed",
)
_ELSEWHERE: Final = ("PermanentRedirect", "AuthorizationHeaderMalformed", "301 Moved")
_TOKEN_SERVERS: Final = ("169.254.", "token request", "/latest/api/token", "security-credentials")
_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>(\w+)</Code>")


def missing_bucket(error: BaseException) -> bool:
    """Tell whether the bucket itself is not there, and not only the name in it."""
    return any(sign in str(error) for sign in _NO_BUCKET)


def fault(error: BaseException, address: Address, name: str, deed: str) -> StoreFault:
    """Say why ``name`` could not be ``deed`` (written, read, listed, deleted)."""
    what = f"'{name}'" if name else "it"
    return StoreFault(
        f"the store {address.url}: {what} could not be {deed}: {_why(error, address)}"
    )


def _why(error: BaseException, address: Address) -> str:
    text = str(error)
    if missing_bucket(error):
        return f"there is no bucket '{address.bucket}'; make it, or correct the name"
    if any(sign in text for sign in _TOKEN_SERVERS):
        return f"no credentials were found; {_CREDENTIALS[address.scheme]}"
    if "Account must be specified" in text:
        return f"the storage account is not named; {_CREDENTIALS[address.scheme]}"
    if any(sign in text for sign in _ELSEWHERE):
        return "the bucket is in another region; set AWS_REGION to the bucket's"
    return _refused(text, address) or _unavailable(text, address)


def _refused(text: str, address: Address) -> str | None:
    status = _status(text)
    code = found[1] if (found := _CODE.search(text)) else ""
    if code in _REFUSED_KEYS or status == "401":
        return f"the credentials are not accepted ({code or status}); renew or correct them"
    if status == "403":
        return (
            f"the credentials give no right to do that in '{address.bucket}'; it takes the rights "
            f"to list, read, write and delete under '{address.prefix}'"
        )
    return None


def _status(text: str) -> str:
    return found[1] if (found := _STATUS.search(text)) else ""


def _unavailable(text: str, address: Address) -> str:
    status = _status(text)
    endpoint = endpoint_of(address)
    if status in {"429", "503"}:
        return f"{endpoint} turns calls away ({status}), also after pauses; try again later"
    if status.startswith("5"):
        return f"{endpoint} fails ({status}), also when asked again; try again later"
    if "Connect" in text:
        return f"{endpoint} cannot be reached; check the address and the network"
    if "TimedOut" in text or "Timeout" in text:
        return f"{endpoint} did not answer in time; try again later"
    return _first_line(text)


def _first_line(text: str) -> str:
    """Shorten an unforeseen message; what a URL says after ``?`` may be a signature."""
    line = text.strip().splitlines()[0] if text.strip() else "for an unknown reason"
    return re.sub(r"\?\S+", "?…", line)[:300]
