"""Places that a model can be read from: the Hugging Face hub, S3, Google Cloud Storage, web servers, file systems.

Each lists its files with sizes and checksums and is read by ranges; `open_source` takes a URL.
"""

from fairlead.serving.store.sources.errors import (
    BadSource,
    Changed,
    Damaged,
    Denied,
    NotThere,
    SourceError,
    Unreachable,
    Unsafe,
)
from fairlead.serving.store.sources.listing import Checksum, Listing, Source, SourceFile
from fairlead.serving.store.sources.open import Choice, open_source, read_settings

__all__ = [
    "BadSource",
    "Changed",
    "Checksum",
    "Choice",
    "Damaged",
    "Denied",
    "Listing",
    "NotThere",
    "Source",
    "SourceError",
    "SourceFile",
    "Unreachable",
    "Unsafe",
    "open_source",
    "read_settings",
]
