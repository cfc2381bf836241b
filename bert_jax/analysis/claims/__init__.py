"""Figures and tables for five claims about [CLS], made from the rows of `experiments.what_is_in_cls`."""
