"""Which packages there are: the folders of the checkout, under the one name that they are imported by.

``pyproject.toml`` has everything else; setuptools can be told there where a package lies, but not to look for those
below it.
"""

from setuptools import find_packages, setup

HOUSES = ("daemon", "db", "models", "samples")

setup(
    packages=[
        f"meshdrop.{package}"
        for house in HOUSES
        for package in (house, *(f"{house}.{room}" for room in find_packages(house)))
    ],
    package_dir={f"meshdrop.{house}": house for house in HOUSES},
)
