"""The lines that mend each mistake, in the languages of the programs that are checked.

Reads the texts in `fixes.toml`; opens nothing else.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources

from halloo._check.language import LANGUAGES, Language

Fixes = Mapping[Language, str]


def fixes(mistake: str) -> Fixes:
    """Return the fixes of a mistake, by its id; a language in which it cannot be made is left out."""
    return _all().get(mistake, {})


@cache
def _all() -> Mapping[str, Fixes]:
    text = resources.files("halloo._check").joinpath("fixes.toml").read_text(encoding="utf-8")
    return {
        mistake: {language: codes[language].strip("\n") for language in LANGUAGES if language in codes}
        for mistake, codes in tomllib.loads(text).items()
    }
