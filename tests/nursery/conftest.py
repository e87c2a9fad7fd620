import random
from itertools import islice

import pytest
import torch

from nursery.documents import Document, Mix, documents
from nursery.grammar import Specimen, specimens


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pool() -> list[Specimen]:
    return list(islice(specimens("tests"), 120))


@pytest.fixture(scope="session")
def made(pool: list[Specimen]) -> list[Document]:
    """Documents with many thinking attempts, half of them with wrong tries."""
    return list(documents(pool, Mix(think=0.5, induction=2.0, give_up=0.2), random.Random(0)))
