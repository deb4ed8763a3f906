"""What everything else stands on: records, names of processes, paths, plain texts."""
