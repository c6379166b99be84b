"""Numbers, times and sizes as a person reads them."""

from __future__ import annotations

from datetime import datetime

MINUTE, HOUR, DAY = 60, 3600, 86400


def amount(value: float) -> str:
    """Four digits or three decimals: 2.631, 114.4, 0.03627, 1.2e+06."""
    if value == int(value) and abs(value) < 1e4:
        return str(int(value))
    if 1 <= abs(value) < 100:
        return f"{value:.3f}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.2e}"


def perplexity(value: float) -> str:
    """Three decimals: 11.307, 1.234e+05."""
    return f"{value:.3f}" if value < 1e4 else f"{value:.3e}"


def duration(seconds: float) -> str:
    """In a table: `35 s`, `12 min`, `3 h 05`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02}"


def elapsed(seconds: float) -> str:
    """To the second: 45 -> "45 s", 150 -> "2 min 30 s", 5000 -> "1 h 23 min"."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def roughly(seconds: float) -> str:
    """A forecast: 44 -> "40 s", 170 -> "3 min", 5000 -> "1.4 h", 200000 -> "2.3 days"."""
    if seconds < 2 * MINUTE - 5:
        return f"{max(10, round(seconds / 10) * 10)} s"
    if seconds < 2 * HOUR - 30:
        return f"{round(seconds / MINUTE)} min"
    if seconds < 2 * DAY:
        hours = seconds / HOUR
        return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
    return f"{seconds / DAY:.1f} days"


def moment(seconds: float | None) -> str:
    """Local time, to the minute."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def size(count: int) -> str:
    """`834 B`, `12.0 KiB`, `1.3 GiB`."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def megabytes(count: int) -> str:
    """`269.1 MB`, `1.30 GB`: as the hub shows the sizes of weights."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def quantity(count: int) -> str:
    """`6.74 billion`, `134.5 million`, `12,345`."""
    for unit, word, digits in ((10**9, "billion", 2), (10**6, "million", 1)):
        if count >= unit:
            return f"{count / unit:,.{digits}f} {word}"
    return f"{count:,}"


def percent(share: float, deviation: float | None = None) -> str:
    """`80.2 %`, or `80.2 ± 1.8 %` with a standard error."""
    more = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * share:.1f}{more} %"
