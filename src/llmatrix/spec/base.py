"""What every model of the experiment document shares."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Final

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

MAX_FILE_BYTES: Final = 1024 * 1024


class Section(BaseModel):
    """A part of the document: immutable, exact in its types, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        use_attribute_docstrings=True,
        validate_default=False,
    )


class FileText(Section):
    """A file that the experiment names, taken in by content.

    Only the text counts for keys and ids: renaming or moving the file changes nothing.
    """

    text: str
    """The file's whole text."""
    name: str = Field(default="inline", exclude=True)
    """Its path as the user wrote it; not part of any key."""

    @property
    def sha256(self) -> str:
        """Hash of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def _read_file(value: Any, info: ValidationInfo) -> Any:
    """Turn what the user wrote (a path, or the document itself) into a ``FileText``."""
    if isinstance(value, FileText) or value is None:
        return value
    if isinstance(value, dict):
        if set(value) <= {"text", "name"} and "text" in value:
            return value
        return {"text": yaml.safe_dump(value, sort_keys=False), "name": "inline"}
    if not isinstance(value, str):
        raise ValueError("is not a file; write a path relative to the experiment file")  # noqa: TRY004
    folder = Path((info.context or {}).get("folder", "."))
    path = folder / value
    try:
        if not path.is_file():
            raise ValueError(f"there is no file '{value}' in {folder.resolve()}")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"'{value}' is larger than 1 MiB")
        return {"text": path.read_text(encoding="utf-8"), "name": value}
    except UnicodeDecodeError:
        raise ValueError(f"'{value}' is not UTF-8 text") from None
    except OSError as error:
        raise ValueError(f"'{value}' cannot be read: {error.strerror}") from None


NamedFile = Annotated[
    FileText, BeforeValidator(_read_file, json_schema_input_type=str | dict[str, Any])
]
