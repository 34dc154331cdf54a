"""What leaves is cleaned: no key, no password, no control character, however it was broken, quoted or cut."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.cleaning import Screen, check_variable, clean, register_address, register_secret, shown_address
from zerosearch.config_file import load_config
from zerosearch.engines.config import WebConfig
from zerosearch.errors import ConfigError, EngineError

KEY = "sk-live-AbC123/xyz+987=QQ&Zz<9>"
register_secret(KEY)


def test_keys_that_hold_parts_of_each_other_are_hidden_whole() -> None:
    register_secret("0123456789abcdef-one")
    register_secret("and/more/0123456789")
    assert clean("and/more/0123456789 0123456789abcdef-one") == "[key] [key]"


@pytest.mark.parametrize(
    "said",
    [
        KEY,
        "sk-live-Ab\nC123/xyz+987=QQ&Zz<9>",
        " ".join(KEY),
        "sk-live-\x1b[31mAbC123/xyz\x00+987=QQ&Zz<9>",
        "sk-live-AbC123%2Fxyz%2b987%3DQQ%26Zz%3C9%3E",
        "sk-live-AbC123/xyz+987=QQ&amp;Zz&lt;9&gt;",
        r"sk-live-AbC123\/xyz\u002b987=QQ&Zz\u003c9\u003e",
        r"sk-live-AbC123/x\nyz+987=QQ&Zz<9>",
        "sk-live-AbC123/",  # whoever sent it has cut it
    ],
)
def test_a_key_is_hidden_whole_broken_quoted_or_begun(said: str) -> None:
    assert clean(f"wrong key: {said}!") == "wrong key: [key]!"


@given(st.integers(1, 300), st.integers(1, 40))
def test_no_part_of_a_key_shows_wherever_a_text_is_cut(before: int, cut: int) -> None:
    error = EngineError("http", "x" * before + KEY + " y" * 50)
    assert KEY[:4] not in str(error)[: before + cut]


@pytest.mark.parametrize(
    ("address", "secret"),
    [
        ("http://user:hunter22@host/v1", "hunter22"),
        ("http://user:p@ss/word9@host/v1", "ss/word9"),
        ("ftp://user:hunter22@host", "hunter22"),
        ("http:/user:hunter22@host", "hunter22"),
        ("user:hunter22@host:8000/v1", "hunter22"),
        ("http:user:hunter22@host", "hunter22"),
        ("http://user:hunter22@[::1]:8000/v1", "hunter22"),
        ("http://user:hunter%32%32@host/v1", "hunter"),
        ("http://user%3Ahunter22%40host/v1", "hunter22"),
        ("http://ghp_token22@host/v1", "ghp_token22"),
        ("http://user:123/hunter22@host/v1", "hunter22"),
        ("http://host/v1?api_key=hunter22", "hunter22"),
        ("http://host/v1?other=hunter22", "hunter22"),
        ("http://user:hunter22@host:port/v1", "hunter22"),
        ("HTTP://user:hunter22@host/v1", "hunter22"),
        (" http://user:hunter22@host/v1", "hunter22"),
    ],
)
@pytest.mark.parametrize("setting", ["model.base_url", "engine.remote.url", "engine.simulated.base_url"])
def test_an_address_with_a_secret_is_refused_as_it_is_read_and_not_shown(
    address: str, secret: str, setting: str, zerosearch_line: Any
) -> None:
    said = zerosearch_line([f"{setting}={address}"])
    assert setting in said
    assert secret not in said
    assert secret not in shown_address(address)
    assert secret not in clean(f"asked {address}, in vain")


@pytest.fixture
def zerosearch_line() -> Any:
    def line(overrides: list[str]) -> str:
        with pytest.raises(ConfigError) as caught:
            load_config(None, overrides)
        return str(caught.value)

    return line


@pytest.mark.parametrize("value", ['["http://u:hunter22@h"]', "{a = 'hunter22'}", "12345678"])
@pytest.mark.parametrize("setting", ["model.base_url", "model.api_key_env", "engine.serper.api_key_env"])
def test_a_value_of_the_wrong_type_is_not_shown_where_secrets_stand(
    setting: str, value: str, zerosearch_line: Any
) -> None:
    said = zerosearch_line([f"{setting}={value}"])
    assert setting in said
    assert "hunter22" not in said
    assert "12345678" not in said


@pytest.mark.parametrize(
    "key",
    ["sk-abc123", "0123456789abcdef" * 4, "a1b2c3d4e5f60718", "hf_AbCdEfGh12", "key with blanks", "Bearer x", "A" * 30],
)
def test_a_key_where_the_variables_name_belongs_is_refused_and_not_shown(key: str, zerosearch_line: Any) -> None:
    for setting in ("model.api_key_env", "engine.serper.api_key_env", "engine.simulated.api_key_env"):
        said = zerosearch_line([f"{setting}={key}"])
        assert "name of an environment variable" in said
        assert key not in said


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "MY_KEY_2", "my_key", "_K", "SERPAPI_API_KEY", "key1"])
def test_a_variables_name_is_taken(name: str) -> None:
    check_variable(name)
    assert WebConfig(api_key_env=name).api_key_env == name


def test_a_set_variable_may_have_any_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("mykey12345", "x")
    check_variable("mykey12345")


def test_what_a_server_makes_of_a_password_is_hidden_too() -> None:
    register_address("http://someone:at5even@host")
    told = base64.b64encode(b"someone:at5even").decode()
    assert clean(f"got {told} and someone:at5even, Basic {told}") == "got [key] and [key], Basic [key]"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;owned\x07a\tb\nc\x00\x9b1md", "a\tb\ncd"),
        ("a\r\nb\rc\x0bd", "a\nb c d"),
        ("\x1b]0;never ended", "]0;never ended"),
        ("‮evil\ud800", "evil?"),
        ("北京 é 🙂 \u200fשלום", "北京 é 🙂 \u200fשלום"),
    ],
)
def test_control_characters_go_and_texts_stay(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "https://medium.com/@someone/a:b",
        "write to a@b.org or http://host:8000/@team",
        "a?b=c&page=2",
        "a bearer of the torch, Basic instincts",
        "sk-learn and hf_hub, a key=value pair",
        "http://[::1]:8000/v1 at 10:30@noon",
    ],
)
def test_plain_texts_and_addresses_are_left_as_they_are(text: str) -> None:
    assert clean(text) == text


def test_the_screen_shows_no_secret_and_keeps_colours() -> None:
    out = io.StringIO()
    screen = Screen(out)
    assert screen.write(f"\x1b[31m{KEY}\x1b[0m http://a:b@c\n") > 0
    screen.writelines([KEY, "\n"])
    assert out.getvalue() == "\x1b[31m[key]\x1b[0m http://[key]@c\n[key]\n"
    assert screen.encoding == out.encoding
