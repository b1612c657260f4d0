"""All cases, in the order of their ids.

Knows the rooms of cases. To add a case is to write its function.
"""

from tests.conformance import cases_clients, cases_faults, cases_fuzz, cases_life, cases_load, cases_stream
from tests.conformance.cases import Case, cases_in

ROOMS = (cases_stream, cases_clients, cases_faults, cases_life, cases_load, cases_fuzz)

CASES: tuple[Case, ...] = tuple(
    sorted((each for room in ROOMS for each in cases_in(vars(room).values())), key=lambda each: each.id)
)
