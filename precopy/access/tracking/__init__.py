"""Recording: programs under the monitor, and the tracker that keeps what they report."""
