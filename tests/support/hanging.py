"""How long a test waits for another thread or process that may never come."""

from __future__ import annotations

# Seconds. None waits so long, unless what it waits for hangs: then the test fails, and says where.
HUNG_S = 300
