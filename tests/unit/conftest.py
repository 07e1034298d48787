"""What all unit tests share."""

import os

import hypothesis

# A machine that does other work as well is slow for a moment; that is no failure.
# In CI the same examples every time; at a desk, new ones.
hypothesis.settings.register_profile(
    'unit', deadline=None, max_examples=80, derandomize='CI' in os.environ
)
hypothesis.settings.load_profile('unit')
