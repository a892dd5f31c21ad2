"""What a server would learn of your batches: `irlg.audit` in Python, `irlg audit` at a prompt.

`defence` knows defences by name; `client` has what is sent of one batch, and what went into the head; `audit` draws
batches, restores and compares them; `result` is what comes of it, `report` its words, `picture` its picture. `command`
is the command, `saved` and `images` read its files.
"""

from irlg.auditing.audit import audit
from irlg.auditing.result import Audit, Batch

__all__ = ["Audit", "Batch", "audit"]
