"""Tables and pictures of an evaluation."""
