"""Five claims about [CLS]: what the rows of `experiments.what_is_in_cls` say of each, drawn and in tables."""
