"""Runs programs. A failure shows their output."""

import re
import shutil
import subprocess

import pytest


def needs(*programs):
    """Skips the test unless these programs are installed."""
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"no {program}; scripts/deps installs it")


def run(*command, check=True, timeout=100, input=None, text=True, **more):
    """Runs a program to its end. With `check`, its failure fails the test and shows its output.

    Skips the test if the program is not installed.
    """
    needs(command[0])
    done = subprocess.run(
        [str(part) for part in command], input=input, text=text, timeout=timeout,
        stdin=subprocess.DEVNULL if input is None else None, capture_output=True, **more)
    if check:
        assert done.returncode == 0, (
            f"$ {' '.join(map(str, command))}\nexit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def refused(pattern, *command, **more):
    """Runs a program that must fail in the way of a command: with a positive exit status, without
    a signal, and with a message that `pattern` matches. The usage text does not count as a
    message."""
    done = run(*command, check=False, **more)
    said = done.stdout + done.stderr
    shown = f"$ {' '.join(map(str, command))}\n{said}"
    assert 0 < done.returncode < 128, f"exit status {done.returncode}, should be a refusal\n{shown}"
    lines = [line for line in said.splitlines() if not re.match(r" *(Usage|Help|See)\b", line)]
    assert any(re.search(pattern, line, re.IGNORECASE) for line in lines), (
        f"the message lacks: {pattern}\n{shown}")
    return said
