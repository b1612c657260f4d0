"""The options that several commands share: how their text is parsed, and their help."""

import dataclasses
import inspect
import re

import pytest
from cyclopts import App, CycloptsError

from halloo._cli import options
from halloo._cli.options import Families, File, LimitFlags, Quiet, Timeout, port_apart
from halloo._core.limits import Limits
from halloo._core.tls_options import ClientTLS, ServerTLS
from halloo.errors import UnitError, UsageError

BOTH, NO_LIMITS = Families(), LimitFlags()


def parsed(*arguments: str) -> tuple[float, bool, int | None]:
    """Parse the options as a command does."""
    app = App(print_error=False, exit_on_error=False, result_action="return_value")

    @app.default
    def command(
        *, timeout: Timeout = 5, quiet: Quiet = False, families: Families = BOTH
    ) -> tuple[float, bool, int | None]:
        return timeout, quiet, families.version

    values: tuple[float, bool, int | None] = app(arguments)
    return values


def test_a_duration_is_parsed_into_seconds() -> None:
    texts = {"300ms": 0.3, "1.5s": 1.5, "2": 2, "1m30s": 90, "250us": 0.00025, "0": 0}
    assert {text: parsed("-W", text)[0] for text in texts} == texts
    assert parsed()[0] == 5
    for text in ("soon", "-1", "5 parsecs", "1e3", "nan", ""):
        with pytest.raises((CycloptsError, UnitError)):
            parsed(f"--timeout={text}")


def test_a_switch_has_a_short_and_a_long_form_and_no_negative_one() -> None:
    assert parsed("-q")[1]
    assert parsed("--quiet")[1]
    for flag in ("--no-quiet", "--no-ipv4"):
        with pytest.raises(CycloptsError):
            parsed(flag)


def test_a_flag_selects_an_ip_version() -> None:
    flags = {"": None, "-4": 4, "-6": 6, "--ipv4": 4, "--ipv6": 6, "-4 -6": None}
    assert {line: parsed(*line.split())[2] for line in flags} == flags


def parsed_file(*arguments: str) -> str | None:
    """Parse the value of an option for a file."""
    app = App(print_error=False, exit_on_error=False, result_action="return_value")

    @app.default
    def command(*, json: File = None, quiet: Quiet = False) -> str | None:
        assert not quiet
        return json

    path: str | None = app(arguments)
    return path


def test_a_hyphen_alone_is_standard_output() -> None:
    assert (parsed_file("--json", "-"), parsed_file("--json=-")) == ("-", "-")


def test_an_option_is_not_a_file() -> None:
    with pytest.raises((CycloptsError, UsageError)) as caught:
        parsed_file("--json", "-q")
    error = caught.value.__cause__ if isinstance(caught.value, CycloptsError) else caught.value
    assert str(error) == "'-q' is an option, not a file; write ./-q for a file of that name"


# Groups


@pytest.mark.parametrize(
    "group", [options.Families, options.ClientTlsFlags, options.ServerTlsFlags, options.LimitFlags]
)
def test_every_option_of_a_group_has_a_help_text(group: type) -> None:
    documented = re.findall(r'^    (\w+): .*\n    """.+"""$', inspect.getsource(group), re.MULTILINE)
    assert documented == [field.name for field in dataclasses.fields(group)]


@pytest.mark.parametrize(
    ("group", "value"),
    [(options.ClientTlsFlags, ClientTLS), (options.ServerTlsFlags, ServerTLS), (options.LimitFlags, Limits)],
)
def test_a_group_has_the_fields_and_defaults_of_its_value(group: type, value: type) -> None:
    assert dataclasses.asdict(group()) == dataclasses.asdict(value())


def test_each_allow_takes_one_network() -> None:
    app = App(result_action="return_value", exit_on_error=False)

    @app.default
    def command(*addresses: str, limits: LimitFlags = NO_LIMITS) -> object:
        return addresses, limits.allow

    assert app("--allow 10.0.0.0/8 :9000 --allow ::1") == ((":9000",), ("10.0.0.0/8", "::1"))


@pytest.mark.parametrize(
    ("address", "word", "joined"),
    [
        ("udp://host", "7", "udp://host:7"),
        ("::1", "443", "[::1]:443"),
        ("fe80::1%eth0", "443", "[fe80::1%eth0]:443"),
        ("[::1]", "443", "[::1]:443"),
        ("localhost:9", "443", None),
        ("[::1]:9", "443", None),
        ("9", "443", None),
        (":9", "443", None),
        ("localhost", "99999", None),
        ("localhost", "hello", None),
        ("unix:/run/echo", "443", None),
    ],
)
def test_a_host_and_a_port_in_two_words_are_recognised(address: str, word: str, joined: str | None) -> None:
    assert port_apart(address, word) == joined
