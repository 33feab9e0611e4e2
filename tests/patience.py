"""How long tests wait for what must happen."""

#: Seconds. What the busiest machine may need; nothing that passes depends on it: only a test that fails waits so long.
PATIENCE_S = 600.0
