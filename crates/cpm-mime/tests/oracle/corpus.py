#!/usr/bin/env python3
"""Writes corpus.txt: messages and what Python's email package makes of them, for tests/oracle.rs.

Each entry: a `message` line and what is expected of it, fields between tabs, texts and octets in hexadecimal. Leaves are
given with their IMAP part number, type and undecoded content.
"""
import random
from email import message_from_bytes, policy
from email.charset import BASE64, QP, Charset
from email.header import decode_header, make_header
from email.mime.application import MIMEApplication
from email.mime.image import MIMEImage
from email.mime.message import MIMEMessage
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.utils import formataddr, getaddresses, parsedate_to_datetime

random.seed(3862)
WORDS = "alpha beta gamma délta épsilon zeta 東京 кириллица -- --b -dash From .dot".split(" ")


def text(lines):
    return "".join(" ".join(random.choices(WORDS, k=random.randint(0, 9))) + "\n" for _ in range(lines))


def part(depth):
    kind = random.choice(["text", "text", "html", "image", "app", "multi", "multi", "message"] if depth < 4 else ["text", "app"])
    if kind == "text":
        charset = Charset("utf-8")
        charset.body_encoding = random.choice([QP, BASE64, None])
        return MIMEText(text(random.randint(0, 5)), "plain", charset)
    if kind == "html":
        return MIMEText("<p>" + text(2) + "</p>", "html", "utf-8")
    if kind == "image":
        image = MIMEImage(random.randbytes(random.randint(1, 120)), "png")
        image.add_header("Content-Disposition", "attachment", filename=random.choice(["a.png", ("utf-8", "fr", "é è.png")]))
        return image
    if kind == "app":
        return MIMEApplication(random.randbytes(random.randint(0, 60)))
    if kind == "message":
        return MIMEMessage(whole(depth + 1))
    multi = MIMEMultipart(random.choice(["mixed", "alternative", "related"]))
    if random.random() < 0.3:
        multi.preamble = "This is a preamble.\nOf two lines.\n"
    for _ in range(random.randint(1, 4)):
        multi.attach(part(depth + 1))
    if random.random() < 0.3:
        multi.epilogue = "An epilogue\n"
    return multi


def whole(depth=0):
    message = part(depth)
    message["From"] = random.choice([formataddr(("Zoë Ünal", "zoe@example.org")), "bob@example.org", '"A, B" <ab@example.org>'])
    message["To"] = ", ".join(random.choices(["a@example.org", formataddr(("Ça", "c@example.org")), "d@[192.0.2.1]"], k=random.randint(1, 4)))
    message["Subject"] = random.choice(["plain", "Schöne Grüße aus Köln und anderswo, " * 4, "東京 " * 20, "Re: x"])
    message["Date"] = random.choice(["Mon, 12 Jan 2026 10:00:00 +0100", "1 Feb 2024 23:59:59 -0730", "29 Feb 2024 00:00:00 GMT"])
    return message


def mangle(octets):
    """Every fifth message has bare LF."""
    return octets.replace(b"\r\n", b"\n") if random.random() < 0.2 else octets


def leaves(message, path, out):
    """Numbers leaves as IMAP does; `path` is that of the entity, or of the message whose root the entity is."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for number, child in enumerate(message.get_payload(), 1):
            numbered(child, path + [number], out)
    else:
        numbered(message, path + [1], out)


def numbered(message, path, out):
    kind = message.get_content_type()
    if kind == "message/rfc822" and message.is_multipart():
        leaves(message.get_payload(0), path, out)
    elif message.is_multipart():
        leaves(message, path, out)
    else:
        out.append((".".join(map(str, path)), kind, message.get_payload()))


def show(value):
    return value.encode().hex()


with open("corpus.txt", "w", encoding="ascii") as file:
    for _ in range(50):
        octets = mangle(whole().as_bytes(policy=policy.compat32.clone(linesep="\r\n")))
        message = message_from_bytes(octets, policy=policy.compat32.clone(linesep="\r\n"))
        file.write(f"message\t{octets.hex()}\n")
        file.write(f"subject\t{show(str(make_header(decode_header(message['Subject']))))}\n")
        file.write(f"date\t{int(parsedate_to_datetime(message['Date']).timestamp())}\n")
        for _, address in getaddresses([message["To"]]):
            file.write(f"to\t{show(address)}\n")
        out = []
        leaves(message, [], out)
        for number, kind, content in out:
            file.write(f"leaf\t{number}\t{kind}\t{content.encode('utf-8', 'surrogateescape').hex()}\n")
        file.write("end\n")
