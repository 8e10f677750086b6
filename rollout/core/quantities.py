"""Durations, percentages and names as people write them: one grammar and one wording of what is wrong, for plans and settings.

Each type accepts text only in the written form (`6h`, `10%`), because a bare `6` or `0.1` leaves the unit to guessing, and
writes it back in one canonical form, so that `24h` and `1d` are the same plan.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

DURATION_PATTERN = r"^(?=\d)(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?$"
SHARE_PATTERN = r"^(?:100(?:\.0+)?|\d{1,2}(?:\.\d+)?)%$"
DNS_LABEL_PATTERN = r"^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$"
DNS_NAME_PATTERN = r"^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*$"

_PARTS = re.compile(r"(?=\d)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_SECONDS = (86_400, 3_600, 60, 1)
_SHARE = re.compile(SHARE_PATTERN[1:-1], re.ASCII)
_SEEN_LENGTH = 60
_DNS_NAME_LENGTH = 253


def wrong(message: str, remedy: str = "", key: str = "") -> PydanticCustomError:
    """Build the error that the plan reader shows as it stands; `key` points below the value that was being validated."""
    return PydanticCustomError("wrong", "{text}", {"text": message, "remedy": remedy, "key": key})


def seen(value: object) -> str:
    """Show what was seen, on one line and short: a text quoted, a list or a map by its kind."""
    written = str(getattr(value, "written", "")) or value
    match written:
        case None:
            return "nothing"
        case bool():
            return str(written).lower()
        case dict():
            return "a map"
        case list() | tuple() | set():
            return "a list"
        case str() if isinstance(value, (int, float)):
            return written
        case str():
            text = written if len(written) <= _SEEN_LENGTH else written[: _SEEN_LENGTH - 3] + "..."
            return "'" + text.encode("unicode_escape").decode("ascii") + "'" if not text.isprintable() else f"'{text}'"
        case _:
            return str(written)[:_SEEN_LENGTH]


def as_text(value: object) -> object:
    """Give a number of a plan file back as it was written (`1.20` stays `1.20`); anything else as it is."""
    return getattr(value, "written", value)


def parse_duration(value: object) -> timedelta:
    """Read `30s`, `90m`, `6h`, `1d` or `1h30m`. A timedelta is passed through. Anything else is refused with the reason."""
    if isinstance(value, timedelta):
        return value
    text = as_text(value)
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str):
        raise wrong(f"{seen(value)} was seen, a duration is expected", "for example 30s, 90m, 6h or 1h30m")
    if text.lstrip("+-").replace(".", "", 1).isdigit() and not text.startswith("-"):
        raise wrong(f"{seen(value)} has no unit", f"write {text}s, {text}m, {text}h or {text}d")
    if text.startswith("-"):
        raise wrong(f"{seen(value)} is negative", "a duration is at least 0s")
    if re.fullmatch(r"\d+\.\d+[dhms]", text):
        raise wrong(f"{seen(value)} has a fraction", "write whole units, for example 1h30m instead of 1.5h")
    match = _PARTS.fullmatch(text)
    if match is None:
        raise wrong(f"{seen(value)} is not a duration", "for example 30s, 90m, 6h, 1d or 1h30m")
    return timedelta(seconds=sum(int(n) * s for n, s in zip(match.groups(), _SECONDS, strict=True) if n))


def format_duration(span: timedelta) -> str:
    """Write in hours, minutes and seconds, without parts that are zero: `24h`, `1h30m`, `45s`, `0s`."""
    rest = int(span.total_seconds())
    words = []
    for seconds, unit in ((3_600, "h"), (60, "m"), (1, "s")):
        number, rest = divmod(rest, seconds)
        if number:
            words.append(f"{number}{unit}")
    return "".join(words) or "0s"


def parse_share(value: object) -> float:
    """Read `10%` as 0.1. A float is passed through when it was computed, not when it was written without the sign."""
    text = as_text(value)
    if isinstance(value, float) and text is value and 0 <= value <= 1:
        return value
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        text = str(text)
    if isinstance(text, str):
        if _SHARE.fullmatch(text):
            return float(text[:-1]) / 100
        if re.fullmatch(r"\d+(\.\d+)?", text):
            raise wrong(f"{seen(value)} has no percent sign", "write for example 10%")
        if re.fullmatch(r"-?\d+(\.\d+)?%", text):
            raise wrong(f"{seen(value)} is outside 0% to 100%", "write for example 10%")
    raise wrong(f"{seen(value)} was seen, a percentage is expected", "for example 10%")


def format_share(share: float) -> str:
    """Write 0.1 as `10%`."""
    return f"{share * 100:.10g}%"


def check_timezone(value: str) -> str:
    """Refuse what is not an IANA zone."""
    try:
        return str(ZoneInfo(value))
    except (ValueError, OSError, KeyError) as error:
        remedy = "use an IANA name such as Europe/Berlin, Asia/Shanghai or UTC"
        raise wrong(f"{seen(value)} is not a time zone", remedy) from error


def check_address(value: str) -> str:
    """Refuse an http(s) address whose host or port no client could connect to. A path alone is none of ours."""
    try:
        parts = urlsplit(value)
        good = not parts.scheme or (parts.hostname and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise wrong(f"{seen(value)} has no host and port to connect to", "for example http://orders.shop:8080/healthz")
    return value


def _check_label(value: object) -> object:
    text = as_text(value)
    if isinstance(text, str) and not re.fullmatch(DNS_LABEL_PATTERN[1:-1], text):
        raise wrong(f"{seen(text)} is not a name", "lower-case letters, digits and '-', 1 to 63 characters")
    return text


def _check_name(value: object) -> object:
    text = as_text(value)
    if isinstance(text, str) and (len(text) > _DNS_NAME_LENGTH or not re.fullmatch(DNS_NAME_PATTERN[1:-1], text)):
        raise wrong(f"{seen(text)} is not a name", "lower-case letters, digits, '-' and '.', as Kubernetes has it")
    return text


def _within(shortest: timedelta, longest: timedelta) -> BeforeValidator:
    def check(value: object) -> timedelta:
        span = parse_duration(value)
        if span < shortest:
            raise wrong(f"{seen(value)} is too short", f"at least {format_duration(shortest)}")
        if span > longest:
            raise wrong(f"{seen(value)} is too long", f"at most {format_duration(longest)} ({longest.days} days)")
        return span

    return BeforeValidator(check)


_AS_DURATION = PlainSerializer(format_duration, return_type=str)
_DURATION_SCHEMA = WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "90m", "6h", "1h30m"]})

Duration = Annotated[timedelta, _within(timedelta(seconds=1), timedelta(days=31)), _AS_DURATION, _DURATION_SCHEMA]
"""From 1s to 31 days."""
DurationOrZero = Annotated[timedelta, _within(timedelta(0), timedelta(days=31)), _AS_DURATION, _DURATION_SCHEMA]
"""From 0s to 31 days."""
LongDuration = Annotated[timedelta, _within(timedelta(seconds=1), timedelta(days=3660)), _AS_DURATION, _DURATION_SCHEMA]
"""From 1s to ten years: how long history is kept."""
Share = Annotated[
    float,
    BeforeValidator(parse_share),
    PlainSerializer(format_share, return_type=str),
    WithJsonSchema({"type": "string", "pattern": SHARE_PATTERN, "examples": ["10%", "25%"]}),
]
"""A part of a whole, 0.0 to 1.0, written `10%`."""
Text = Annotated[str, BeforeValidator(as_text), Field(max_length=10_000)]
"""A text; a number that was written without quotes is taken as written."""
Line = Annotated[str, BeforeValidator(as_text), Field(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A text of one line that is not empty."""
Label = Annotated[str, BeforeValidator(_check_label), WithJsonSchema({"type": "string", "pattern": DNS_LABEL_PATTERN})]
"""A DNS label: the names of plans, clusters, backends, channels, containers, Services and namespaces."""
Name = Annotated[str, BeforeValidator(_check_name), WithJsonSchema({"type": "string", "pattern": DNS_NAME_PATTERN})]
"""A DNS subdomain: the names of Deployments."""
Whole = Annotated[int, Strict()]
"""A whole number; a text or a truth value is not one."""
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
"""A number; a text or a truth value is not one."""
Flag = Annotated[bool, Strict()]
"""`true` or `false`; the words yes, no, on and off are not truth values."""
Zone = Annotated[str, BeforeValidator(as_text), Field(max_length=64), AfterValidator(check_timezone)]
"""An IANA time zone."""
