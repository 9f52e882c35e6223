"""The label audit: which labels are probably wrong, and what training does about them.

Confident learning on out-of-fold probabilities. The probabilities of a row come from models that
never saw it, but those saw the labels of the other folds: an audit of complete runs is
`approximate` in that sense. One that leaves a fold out reads models that never saw that fold
either, and its flags may then help to score it. Evaluation rows are never touched, whatever is
flagged here.
"""
