"""The media type that a file's name promises: the same on every machine.

The system's own type files are not read, since a retry on another machine has to give the same octets; what Python
versions disagree about and what offices send is in our own table. The content is never looked at.
"""

from __future__ import annotations

import mimetypes
import re
from functools import lru_cache

OCTETS = "application/octet-stream"
MESSAGE = "message/rfc822"

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w!#$&\-^.+]{0,126}/[A-Za-z0-9][\w!#$&\-^.+]{0,126}", re.ASCII)  # RFC 6838 4.2

_OPEN_XML = "application/vnd.openxmlformats-officedocument."
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument."
_TYPES = {
    ".3g2": "video/3gpp2",
    ".3gp": "video/3gpp",
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".asc": "text/plain",
    ".avif": "image/avif",
    ".bz2": "application/x-bzip2",
    ".cer": "application/pkix-cert",
    ".crt": "application/x-x509-ca-cert",
    ".csv": "text/csv",
    ".doc": "application/msword",
    ".docm": "application/vnd.ms-word.document.macroenabled.12",
    ".docx": _OPEN_XML + "wordprocessingml.document",
    ".dotx": _OPEN_XML + "wordprocessingml.template",
    ".dwg": "image/vnd.dwg",
    ".emf": "image/emf",
    ".eml": MESSAGE,
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gpx": "application/gpx+xml",
    ".gz": "application/gzip",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ics": "text/calendar",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".log": "text/plain",
    ".lz": "application/x-lzip",
    ".lzma": "application/x-lzma",
    ".m4a": "audio/mp4",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".mka": "audio/x-matroska",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".mpp": "application/vnd.ms-project",
    ".msg": "application/vnd.ms-outlook",
    ".numbers": "application/vnd.apple.numbers",
    ".odp": _OPEN_DOCUMENT + "presentation",
    ".ods": _OPEN_DOCUMENT + "spreadsheet",
    ".odt": _OPEN_DOCUMENT + "text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".ogx": "application/ogg",
    ".opus": "audio/opus",
    ".otf": "font/otf",
    ".p7c": "application/pkcs7-mime",
    ".p7m": "application/pkcs7-mime",
    ".p7s": "application/pkcs7-signature",
    ".pages": "application/vnd.apple.pages",
    ".pdf": "application/pdf",
    ".pem": "application/x-pem-file",
    ".pgp": "application/pgp-encrypted",
    ".ppsx": _OPEN_XML + "presentationml.slideshow",
    ".ppt": "application/vnd.ms-powerpoint",
    ".pptm": "application/vnd.ms-powerpoint.presentation.macroenabled.12",
    ".pptx": _OPEN_XML + "presentationml.presentation",
    ".ps": "application/postscript",
    ".rar": "application/vnd.rar",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".svg": "image/svg+xml",
    ".toml": "application/toml",
    ".tsv": "text/tab-separated-values",
    ".ttf": "font/ttf",
    ".txt": "text/plain",
    ".vcf": "text/vcard",
    ".vsdx": "application/vnd.ms-visio.drawing.main+xml",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".wmf": "image/wmf",
    ".wmv": "video/x-ms-wmv",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xls": "application/vnd.ms-excel",
    ".xlsb": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
    ".xlsm": "application/vnd.ms-excel.sheet.macroenabled.12",
    ".xlsx": _OPEN_XML + "spreadsheetml.sheet",
    ".xltx": _OPEN_XML + "spreadsheetml.template",
    ".xml": "application/xml",
    ".xz": "application/x-xz",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".z": "application/x-compress",
    ".zip": "application/zip",
    ".zst": "application/zstd",
}
_COMPRESSED = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/x-brotli",
}


def type_of(name: str) -> str:
    """Return the type for a file name; ``application/octet-stream`` where the name promises nothing."""
    dot = name.rfind(".")
    if dot <= 0:
        return OCTETS
    known = _TYPES.get(name[dot:].lower())
    if known is not None:
        return known
    media_type, compression = _library().guess_type("f" + name[dot:].lower(), strict=False)
    if compression is not None:
        return _COMPRESSED.get(compression, OCTETS)
    if media_type is None or media_type.startswith(("multipart/", "message/")):
        return OCTETS
    return media_type


def type_fault(media_type: str) -> str:
    """Say why ``media_type`` can't be the declared type of an attachment, or return an empty string."""
    if _MEDIA_TYPE.fullmatch(media_type) is None:
        return "is not a media type; expected type/subtype without parameters such as application/pdf"
    low = media_type.lower()
    if low.startswith(("multipart/", "message/")) and low != MESSAGE:
        return "can't be the type of a file that is sent bit for bit; application/octet-stream can"
    return ""


@lru_cache(maxsize=1)
def _library() -> mimetypes.MimeTypes:
    """Return Python's table without the system's files."""
    return mimetypes.MimeTypes(filenames=())
