"""Numbers as text, for messages, logs and pages."""


def size_text(size: int | None) -> str:
    """Return a number of bytes in decimal units: "1.25 GB"; "an unknown size" for None."""
    if size is None:
        return "an unknown size"
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= 0.999995 * unit:  # less would not be rounded to 1000 of the next smaller unit
            return f"{size / unit:.2f} {name}"
    return f"{size} bytes"


def duration(seconds: float) -> str:
    """Return a time span in readable units: 4.2 s, 3 min 07 s, 2 h 05 min."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def compact(count: float) -> str:
    """Return a number with three significant digits: 310 k, 2.79 M."""
    unit, name = (1e6, " M") if count >= 999_500 else (1e3, " k") if count >= 999.5 else (1, "")
    return f"{count / unit:.3g}{name}"


def percent(share: float) -> str:
    """Return a share in per cent: 6.1 %. Only 0 reads "0.0 %" and only 1 reads "100.0 %"."""
    text = f"{100 * share:.1f}"
    if text == "0.0" and share > 0:
        return "< 0.1 %"
    return "> 99.9 %" if text == "100.0" and share < 1 else f"{text} %"
