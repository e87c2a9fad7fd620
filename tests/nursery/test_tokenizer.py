import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from nursery.tokenizer import build_tokenizer

TOKENIZER = build_tokenizer()


def tokens(text):
    return TOKENIZER.convert_ids_to_tokens(TOKENIZER.encode(text, add_special_tokens=False))


def roundtrip(text):
    return TOKENIZER.decode(TOKENIZER.encode(text, add_special_tokens=False))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_as_it_was(text):
    assert roundtrip(text) == text


@given(st.text(alphabet=string.printable))
def test_any_ascii_text_comes_back_as_it_was(text):
    assert roundtrip(text) == text


@given(
    st.lists(
        st.sampled_from(["<0x41>", "def f(", " in ", "format", "<answer>", "</think>", "\n    ", "é", " ", "<", "a"])
    )
)
def test_texts_that_look_like_tokens_come_back_as_they_were(parts):
    assert roundtrip("".join(parts)) == "".join(parts)


def test_documents_come_back_as_they_were(made):
    for document in made:
        assert roundtrip(document.prompt + document.text) == document.prompt + document.text


@pytest.mark.parametrize(
    "text", ["<think>", "</answer>", "<induction>", "\n        ", "return ", "sorted", " += ", " if "]
)
def test_words_of_the_language_are_one_token(text):
    assert tokens(text) == [text]


def test_numbers_are_read_digit_by_digit_and_other_words_letter_by_letter():
    assert tokens("-127, 'kmo'") == ["-", "1", "2", "7", ", ", "'", "k", "m", "o", "'"]


def test_a_word_inside_another_is_not_split_off():
    assert tokens("information") == list("information")


def test_there_is_an_end_and_a_padding_token_and_no_prefix():
    assert (TOKENIZER.eos_token, TOKENIZER.pad_token) == ("<eos>", "<pad>")
    assert TOKENIZER.encode("a") == TOKENIZER.encode("a", add_special_tokens=False)


def test_the_vocabulary_is_small():
    assert 200 <= len(TOKENIZER) <= 500


def test_a_saved_tokenizer_reads_as_before(tmp_path, made):
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for document in made[:50]:
        assert loaded.encode(document.text) == TOKENIZER.encode(document.text)
        assert loaded.decode(loaded.encode(document.text)) == document.text
