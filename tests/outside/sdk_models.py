"""The fields of the vendor's answers and their types, as the official SDK's models have them."""

import re

from tencentcloud.faceid.v20180301 import models


def model(kind):
    """The model of this name; None for a plain type."""
    return getattr(models, kind, None)


def fields_of(model):
    return [name for name, value in vars(model).items() if isinstance(value, property)]


def type_of(model, name):
    """`str`, `int`, `bool`, the name of a model, or `list of` one of these."""
    kind = re.search(rf":type {name}: (.+)", model.__init__.__doc__)[1].strip()
    return re.sub(r":class:`.*\.(\w+)`", r"\1", kind)
