"""What all unit tests share."""

import hypothesis

# A machine that does other work as well is slow for a moment; that is no failure.
hypothesis.settings.register_profile('unit', deadline=None, max_examples=80)
hypothesis.settings.load_profile('unit')
