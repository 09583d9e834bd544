"""Slow references worked out once: they hang on no instruction level, and the kernels at each are held to the same."""

import pickle
from collections import OrderedDict
from functools import wraps
from hashlib import sha256

_MOST = 300


def once(function):
    """The same function; where it has been asked the very same before, a copy of what it gave then."""
    known = OrderedDict()

    @wraps(function)
    def asked(*arguments, **named):
        key = sha256(pickle.dumps((arguments, sorted(named.items())))).digest()
        if key not in known:
            known[key] = pickle.dumps(function(*arguments, **named), protocol=5)
            if len(known) > _MOST:
                known.popitem(last=False)
        return pickle.loads(known[key])

    return asked
