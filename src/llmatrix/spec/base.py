"""What every model of the experiment document shares."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
)
from pydantic_core import CoreSchema

from llmatrix.spec.files import read_bytes

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_TOKENIZER_BYTES: Final = 256 * 1024 * 1024
TOKENIZER_FILE: Final = "tokenizer.json"


class Section(BaseModel):
    """A part of the document: immutable, exact in its types, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        validate_default=False,
    )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """Describe the fields by the strings below them."""
        from llmatrix.spec.described import meanings  # noqa: PLC0415 - `ast` and `inspect` cost

        found = handler(core_schema)
        properties = handler.resolve_ref_schema(found).get("properties", {})
        for name, meaning in meanings(cls).items():
            if name in properties:
                properties[name].setdefault("description", meaning)
        return found


class NamedContent(Section):
    """What stands for a file that the experiment names: its content, or the hash of it.

    Only that counts for keys and ids: renaming or moving the file changes nothing. No factor path
    leads inside.
    """

    WRITTEN: ClassVar[bool] = True
    """Whether people write the field that holds it; else it is in resolved documents only."""


class FileText(NamedContent):
    """A file taken in by its text."""

    text: str
    """The file's whole text."""
    name: str = Field(default="inline", exclude=True)
    """Its path as the user wrote it; not part of any key."""

    @property
    def sha256(self) -> str:
        """Hash of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class TokenizerFolder(NamedContent):
    """A folder with a ``tokenizer.json``, known by the hash of that file."""

    sha256: str
    """Hash of ``tokenizer.json``, in hexadecimal."""
    path: str = Field(default="", exclude=True)
    """Where it is on this machine, absolute; not part of any key."""


def read_tokenizer_folder(name: str, folder: Path) -> dict[str, str]:
    """Take in a tokenizer that the experiment names; the plain form of a ``TokenizerFolder``.

    Raises:
        ValueError: there is none; the message says why.
    """
    place = (folder / name).resolve()
    try:
        data = read_bytes(place / TOKENIZER_FILE, limit=MAX_TOKENIZER_BYTES)
    except ValueError as error:
        raise ValueError(f"{TOKENIZER_FILE} in the folder '{name}' {error}") from None
    return {"sha256": hashlib.sha256(data).hexdigest(), "path": str(place)}


def read_named_file(name: str, folder: Path) -> dict[str, str]:
    """Take in a file that the experiment names; gives the plain form of a ``FileText``.

    Raises:
        ValueError: it cannot be taken in; the message says why.
    """
    if not name.strip():
        raise ValueError("names no file; write its path, or null for none")
    try:
        data = read_bytes(folder / name, limit=MAX_FILE_BYTES)
    except ValueError as error:
        raise ValueError(f"the file '{name}' {error} (seen from {folder.resolve()})") from None
    try:
        return {"text": data.decode("utf-8-sig"), "name": name}
    except UnicodeDecodeError:
        raise ValueError(f"the file '{name}' is not UTF-8 text") from None


def inline_document(value: Mapping[str, Any]) -> dict[str, str]:
    """Take in a document that stands where a file's name could; gives a plain ``FileText``."""
    if set(value) <= {"text", "name"} and isinstance(value.get("text"), str):
        return dict(value)
    return {"text": yaml.safe_dump(dict(value), sort_keys=False), "name": "inline"}


def _read_file(value: Any, info: ValidationInfo) -> Any:
    """Turn what the user wrote (a path, or the document itself) into a ``FileText``."""
    if isinstance(value, FileText) or value is None:
        return value
    if isinstance(value, dict):
        return inline_document(value)
    if not isinstance(value, str):
        raise ValueError("must be the path of a file, relative to the experiment file")  # noqa: TRY004
    return read_named_file(value, Path((info.context or {}).get("folder", ".")))


def _read_tokenizer(value: Any, info: ValidationInfo) -> Any:
    """Turn a folder's path into a ``TokenizerFolder``; anything else is left to the schema."""
    if not isinstance(value, str) or value == "words":
        return value
    return read_tokenizer_folder(value, Path((info.context or {}).get("folder", ".")))


NamedTokenizer = Annotated[
    TokenizerFolder | Literal["words"],
    BeforeValidator(_read_tokenizer, json_schema_input_type=str),
]
NamedFile = Annotated[
    FileText, BeforeValidator(_read_file, json_schema_input_type=str | dict[str, Any])
]
