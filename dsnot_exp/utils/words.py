"""Numbers, times and sizes as a person reads them."""

from __future__ import annotations

from datetime import datetime


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
    """`35 s`, `12 min`, `3 h 05`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02}"


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


def percent(share: float, deviation: float | None = None) -> str:
    """`80.2 %`, or `80.2 ± 1.8 %` with a standard error."""
    more = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return f"{100 * share:.1f}{more} %"
