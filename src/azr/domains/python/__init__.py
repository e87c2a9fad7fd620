"""The Python domain: programs, inputs, outputs, and the kinds of reasoning that relate them."""

from azr.domains.python.config import PythonConfig
from azr.domains.python.domain import PythonDomain
from azr.domains.python.form import PythonForm
from azr.domains.python.tasks import held_out_sets
from azr.domains.registry import DomainPlugin

PLUGIN = DomainPlugin(
    PythonConfig,
    PythonDomain,
    "Python programs: work out what one returns, find an input, find the program, name the exception.",
    held_out_sets=tuple(held_out_sets()),
    form=PythonForm,
)
