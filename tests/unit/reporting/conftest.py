import pytest
from made_comparison import made_comparison


@pytest.fixture(scope="session")
def comparison():
    return made_comparison()


@pytest.fixture(scope="session")
def comparison_of_three():
    return made_comparison(("audio", "visual", "text"), rotated_r=(-0.62, 0.3, -0.31), selection="paper")
