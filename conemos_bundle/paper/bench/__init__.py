"""`conemos bench`: what training and inference cost beside networks of others, in one run on one machine."""
