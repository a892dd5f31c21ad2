"""Tables of text."""

import pandas as pd


def markdown(frame: pd.DataFrame) -> str:
    """A frame of text as a Markdown table."""
    return frame.to_markdown(index=False, disable_numparse=True)


def span(low: float, high: float, digits: int = 3) -> str:
    """An interval, `[low, high]`."""
    return f"[{low:.{digits}f}, {high:.{digits}f}]"
