"""`azr play`: a person takes one of the two roles of self-play."""
