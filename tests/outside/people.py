"""Requests for people who do not exist."""

NAME = "张三𠮷"
ID_NUMBER = "11010519491231002X"

SUCCESS_URL = "https://shop.example.com/success"
FAILURE_URL = "https://shop.example.com/failure"


def onboarding(**more):
    """What the flow `onboarding` asks of a caller."""
    return {"flow": "onboarding", "subject": {"name": NAME, "id_number": ID_NUMBER}} | more


def jpeg(content=b""):
    """Bytes that pass for a JPEG by their beginning and end."""
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + content + b"\xff\xd9"
