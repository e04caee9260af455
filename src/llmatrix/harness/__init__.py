"""The programs that send the workload and time the answers."""
