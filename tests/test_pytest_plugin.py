"""The fixture as another project's suite uses it: pytest runs such a suite in a separate process."""

import pytest

pytest_plugins = ["pytester"]


def test_the_fixture_is_a_separate_echo_server_for_each_test_and_leaves_nothing_behind(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile(
        """
        import halloo, psutil, pytest, threading

        def resources():
            process = psutil.Process()
            return process.num_fds() if hasattr(process, "num_fds") else 0, threading.active_count()

        before = []

        def test_without():
            before.append(resources())

        @pytest.mark.parametrize("turn", [1, 2])
        def test_count(halloo_server, turn):
            assert threading.active_count() == before[0][1] + 1
            with halloo.connect(halloo_server.address) as connection:
                connection.send(b"hello")
                assert connection.receive_exactly(5) == b"hello"
            assert halloo_server.snapshot().accepted == 1

        def test_without_again():
            assert resources() == before[0]

        def check(message):
            assert message == b"right"

        @pytest.fixture
        def checking_server():
            with halloo.Server(respond=check) as server:
                yield server

        @pytest.mark.parametrize("message", [b"right\\n", b"wrong\\n"], ids=["right", "wrong"])
        def test_client(checking_server, message):
            with halloo.connect(checking_server.address) as connection:
                connection.send(message)
                connection.send_eof()
                assert connection.receive() == b""
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:timeout")
    result.assert_outcomes(passed=6, errors=1)  # the assertion in `respond` fails the test that used the server
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_client*wrong*", "*assert b'wrong' == b'right'*"])


def test_a_suite_that_does_not_use_the_fixture_imports_only_the_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_imports():
            assert {name for name in sys.modules if name.startswith("halloo")} == {"halloo", "halloo.pytest_plugin"}
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_pytest_lists_the_fixture_with_its_description(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines(["halloo_server -- *", "*Serve the echo on a free loopback port*"])
