"""Named random streams: each draw has its own generator, so no draw depends on earlier ones.

Therefore no random state has to be saved, and the order in which coroutines complete changes nothing.
"""

import hashlib

import numpy as np


def stream(seed: int, *name: object) -> np.random.Generator:
    """The random stream of a name, such as `stream(seed, step, "references", kind, index)`.

    The name is hashed (SHA-256) to the 128-bit key of a Philox counter generator.
    """
    words = "/".join(map(str, (seed, *name)))
    key = hashlib.sha256(words.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
