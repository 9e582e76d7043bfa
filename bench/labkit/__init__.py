"""What `bench/lab.py` is made of: processes, contenders, workloads, reports."""
