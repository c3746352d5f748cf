"""What the picker shows of itself: metrics, traces, decisions to replay."""
