"""The small CLIP vocabulary, read by the tokenizer everybody uses."""

import pytest

from runner.demo.shapes_data import vocabulary
from runner.demo.shapes_tokenizer import BOS, EOS, MAX_LENGTH, byte_letters, write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(vocabulary(), folder)
    return CLIPTokenizer.from_pretrained(folder)


def test_the_letters_of_the_bytes_are_distinct_and_ascii_stays_itself():
    letters = byte_letters()
    assert len(set(letters)) == 256
    assert all(letters[byte] == chr(byte) for byte in range(ord("!"), ord("~") + 1))


def test_every_word_of_the_grammar_is_one_token(tokenizer):
    for word in vocabulary():
        assert tokenizer.tokenize(word) == [word + "</w>"]


def test_a_prompt_is_framed_and_padded_with_the_end_token(tokenizer):
    ids = tokenizer(
        "a red star", padding="max_length", max_length=tokenizer.model_max_length, truncation=True
    ).input_ids
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert tokens == [BOS, "a</w>", "red</w>", "star</w>", *[EOS] * (MAX_LENGTH - 4)]


def test_any_text_has_tokens_of_its_own(tokenizer):
    unknown = tokenizer.eos_token_id
    for text in ["A cat, sitting (at home) = fun", "žluťoučký kůň", "星", "🙂"]:
        assert unknown not in tokenizer(text).input_ids[1:-1]


def test_the_ids_do_not_depend_on_the_order_the_words_come_in(tmp_path):
    first = write_tokenizer(vocabulary(), tmp_path / "a")
    assert write_tokenizer(sorted(vocabulary()), tmp_path / "b") == first
