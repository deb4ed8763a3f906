"""NVIDIA FLARE: one network of several sites, each with other regions annotated, whose scans stay where they are."""
