"""Import transformers without scikit-learn and SciPy, which take a third of the whole import where they are installed.

transformers imports them for one way to tune assisted generation, and for the losses of object detection. azr uses
neither. To be imported before anything that imports transformers' models.
"""

from importlib import import_module

import transformers.utils as utils

_USERS = {
    "is_sklearn_available": "transformers.generation.candidate_generator",
    "is_scipy_available": "transformers.loss.loss_utils",
}

for _name, _user in _USERS.items():
    _is_available = getattr(utils, _name)
    setattr(utils, _name, lambda: False)
    try:
        import_module(_user)
    finally:
        setattr(utils, _name, _is_available)
