"""Where workers take jobs and report on them."""
