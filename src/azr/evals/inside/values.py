"""Runs after a program, in its process: evaluates calls and answers, and returns their values as JSON.

Whatever the program does to these functions, it can only claim a value that it could also have returned.
"""

import ast as azr_ast
import builtins as azr_builtins
import json as azr_json
import marshal as azr_marshal
from itertools import islice as azr_islice

AZR_NODES = (
    "Constant List Tuple Dict Set UnaryOp BinOp BoolOp Compare IfExp Lambda Call Name Subscript Slice keyword Starred"
    " operator unaryop boolop cmpop Load"
)
AZR_ALLOWED = tuple(getattr(azr_ast, word) for word in AZR_NODES.split())
AZR_BUILTINS = frozenset(
    "bool bytes chr dict float frozenset int len list max min ord range set sorted str tuple".split()
)
AZR_METHODS = frozenset(
    (
        "capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal isdigit"
        " isidentifier islower isnumeric isprintable isspace istitle isupper join ljust lower lstrip partition"
        " removeprefix removesuffix replace rfind rindex rjust rpartition rsplit rstrip split splitlines startswith"
        " strip swapcase title translate upper zfill"
        " append clear copy extend insert pop remove reverse sort fromkeys get items keys popitem setdefault update"
        " values add difference discard intersection isdisjoint issubset issuperset symmetric_difference union"
    ).split()
)
"""Methods of text and containers. Not among them: `format` and `format_map`, whose text reads any attribute, and
`encode` and `decode`, which import a module by the name that they are given."""

AZR_MOST_ITEMS = 100_000


def azr_call(text: str) -> str:
    """The value of a call of the program's function, written by the benchmark."""
    return azr_json.dumps(azr_plain(eval(text, globals())))


def azr_literal(text: str) -> str:
    """The value of a literal, written by the model."""
    return azr_json.dumps(azr_plain(azr_ast.literal_eval(text.strip())))


def azr_call_with(text: str) -> str:
    """Call `f` with arguments written by the model, in the language that `azr_hold` allows.

    The arguments are evaluated first. The only names in their scope are the builtins from the list, and copies of the
    program's plain data. Only then is `f` looked up and called.

    Raises:
        SyntaxError: the text is something else.
    """
    tree = azr_ast.parse("f(" + text + "\n)", mode="eval")
    call = tree.body
    if not (isinstance(call, azr_ast.Call) and isinstance(call.func, azr_ast.Name)):
        raise SyntaxError("the answer closes the call that it should fill")
    names = {name: getattr(azr_builtins, name) for name in AZR_BUILTINS} | azr_data()
    for part in [*call.args, *call.keywords]:
        azr_hold(part, frozenset(names))
    names |= {"__builtins__": {}, "f": lambda *arguments, **keywords: (arguments, keywords)}
    arguments, keywords = eval(compile(tree, "<answer>", "eval"), names)
    return azr_json.dumps(azr_plain(globals()["f"](*arguments, **keywords)))


def azr_hold(node: azr_ast.AST, names: frozenset[str]) -> None:
    """Refuse a part of an answer that is not in the language of answers; `names` are those in scope there.

    It has literals, operators, lambdas without defaults, calls, methods of text and containers, and names in scope. The
    parameters of a lambda are in scope in its body and nowhere else.

    Raises:
        SyntaxError: something else.
    """
    if isinstance(node, azr_ast.Call) and isinstance(node.func, azr_ast.Attribute):
        if node.func.attr not in AZR_METHODS:
            raise SyntaxError("the method " + node.func.attr + " is not allowed in an input")
        parts = [node.func.value, *node.args, *node.keywords]
    elif not isinstance(node, AZR_ALLOWED):
        raise SyntaxError(type(node).__name__ + " is not allowed in an input")
    elif isinstance(node, azr_ast.Name) and node.id not in names:
        raise SyntaxError("the name " + node.id + " is not allowed in an input")
    elif isinstance(node, azr_ast.Lambda):
        if node.args.defaults or any(node.args.kw_defaults):
            raise SyntaxError("a default of a parameter is not allowed in an input")
        names |= {each.arg for each in azr_ast.walk(node.args) if isinstance(each, azr_ast.arg)}
        parts = [node.body]
    else:
        parts = [*azr_ast.iter_child_nodes(node)]
    for part in parts:
        azr_hold(part, names)


def azr_data() -> dict[str, object]:
    """Copies of the program's global variables that are plain data: no function, class, module or other object."""
    found = {}
    for name, value in list(globals().items()):
        if not name.lower().startswith(("azr_", "_")):
            try:
                found[name] = azr_marshal.loads(azr_marshal.dumps(value))
            except ValueError:  # marshal knows exact builtin types only
                continue
    return found


def azr_plain(value: object) -> object:
    """Convert a value to JSON's types: builtins by their type, instances of their subclasses as the builtin.

    Of any other object, only its items leave the process, if it can be iterated.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, list):
        return [azr_plain(item) for item in list.__iter__(value)]
    for container in (tuple, set, frozenset):
        if isinstance(value, container):
            return {container.__name__: [azr_plain(item) for item in container.__iter__(value)]}  # type: ignore[arg-type]
    if isinstance(value, dict):
        return {"dict": [[azr_plain(key), azr_plain(item)] for key, item in dict.items(value)]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, bytes):
        return {"bytes": value.decode("latin-1")}
    if not hasattr(type(value), "__iter__"):
        return {"object": None}
    return {"object": [azr_plain(item) for item in azr_islice(iter(value), AZR_MOST_ITEMS)]}  # type: ignore[call-overload]
