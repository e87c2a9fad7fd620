"""A program finds the same standard library in both tiers, also where its folder is closed to ordinary users."""

import os
import pkgutil

import pytest

from azr.sandbox import Job, Limits, LocalSandbox

CODECS = (
    "ascii latin_1 utf_8 utf_8_sig utf_16_be utf_32 utf_7 cp437 cp1252 cp1140 iso8859_15 koi8_r mac_roman big5 gb18030"
    " euc_jp shift_jis euc_kr hz iso2022_jp idna punycode raw_unicode_escape unicode_escape rot13 base64 hex quopri uu zlib"
    " palmos charmap no_such_codec"
).split()
ENCODE = """
import codecs
def f(name):
    try:
        given = b'spam' if name in ('base64', 'hex', 'quopri', 'uu', 'zlib') else 'spam'
        return repr(codecs.decode(codecs.encode(given, name), name))
    except Exception as error:
        return type(error).__name__
"""
IMPORT = """
import importlib
def f(*names):
    found = {}
    for name in names:
        try:
            found[name] = sorted(vars(importlib.import_module(name)))
        except BaseException as error:
            found[name] = type(error).__name__
    return found
"""
LIMITS = Limits(wall_seconds=120, cpu_seconds=60, memory_bytes=2**30, output_bytes=400_000)
NOT_ASKED = ("test", "idlelib", "antigravity", "this", "site-packages", "turtledemo", "__phello__")
NOT_ASKED_IN_PACKAGES = ("__main__", ".test", ".tests")
"""Tests, which cannot run without what is hidden, and modules that do something when they are imported."""


def modules():
    """Give the modules of the standard library that are written in Python."""
    library = os.path.dirname(os.__file__)
    found = []
    for info in pkgutil.iter_modules([library]):
        names = [info.name]
        if info.ispkg:
            names += [f"{info.name}.{part.name}" for part in pkgutil.iter_modules([os.path.join(library, info.name)])]
        found += [name for name in names if not (name.startswith(NOT_ASKED) or name.endswith(NOT_ASKED_IN_PACKAGES))]
    return found


async def found(tier, program, *inputs):
    sandbox = LocalSandbox(workers=1, tier=tier)
    outcomes = await sandbox.run(Job(program, inputs, limits=LIMITS))
    await sandbox.close()
    return [outcome.value or outcome for outcome in outcomes]


async def test_codecs_are_the_same_in_both_tiers():
    names = [repr(name) for name in CODECS]
    full = await found("full", ENCODE, *names)
    assert full[CODECS.index("cp1252")] == repr("'spam'")
    assert await found("seccomp", ENCODE, *names) == full


@pytest.mark.slow
async def test_modules_of_the_standard_library_are_the_same_in_both_tiers():
    names = modules()
    assert len(names) > 300
    parts = [", ".join(map(repr, names[at : at + 40])) for at in range(0, len(names), 40)]
    for part in parts:
        assert await found("seccomp", IMPORT, part) == (full := await found("full", IMPORT, part))
        assert isinstance(full[0], str)


@pytest.mark.parametrize("tier", ["full", "seccomp"])
async def test_a_traceback_shows_the_text_of_the_standard_library(tier):
    program = """
import json, traceback
def f():
    try:
        json.loads("[")
    except ValueError:
        return "self.raw_decode(s, idx" in traceback.format_exc()
"""
    assert await found(tier, program, "") == ["True"]
