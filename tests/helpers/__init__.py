"""What several tests share: sweeps to try things on, a cluster, a W&B server, a browser."""
