"""Auto-Encoding Variational Bayes (Kingma & Welling, 2013), reproduced.

Read the package in the order of the paper: `data`, `distributions`, `models`, `hmc`, `optimisers`,
`estimators`, `training`, `evidence`, `figures`. Every function works on stacked models: axes are M models,
S samples, B points, D features, in this order. Units are nats per data point and higher is better.
"""


class UserError(Exception):
    """Something the user can mend: the message says what is wrong and what to do about it."""
