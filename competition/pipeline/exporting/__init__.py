"""A trained run as a folder that stands alone, with proof that it says what the run says."""
