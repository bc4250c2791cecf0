#!/usr/bin/env python3
"""Writes dovecot.txt: messages and Dovecot's answers to ENVELOPE, BODY and BODYSTRUCTURE, for tests/oracle.rs.

usage: dovecot.py COMMAND…    where COMMAND starts an IMAP session in the PREAUTH state on standard input and output, such as
`/usr/lib/dovecot/imap -c FILE` with a configuration that names an empty mail_location.

Left out is what Dovecot decides otherwise: of a Subject that stands twice it takes the last, and it ignores Content-*
where neither MIME-Version nor Content-Type is there. It writes a literal for a string with a quote or backslash.
"""
import random
import re
import subprocess
import sys

random.seed(9051)
FIELDS = [
    "Content-Transfer-Encoding: base64", "Content-Transfer-Encoding: quoted-printable", "Content-MD5: xyz",
    "Content-Disposition: attachment; filename*0=a; filename*1=b", "Content-Disposition: inline; filename*=utf-8''%C3%A9",
    "Content-Language: en, fr", "Content-Location: http://x", "Content-ID: <a@b>", "Content-Description: some\r\n text",
    "Subject: =?utf-8?q?=C3=A9?= x", "Subject: Grüße\r\n y", "From: A <a@b>, g: c@d, e@f;", "From: A B C <a@b>",
    "To: <a@b> (comment)", "To: undisclosed-recipients:;", "Cc: a@b (A B), \"Q, R\" <q@r>", "Bcc: x: y@z;, \"w\"@v",
    "Reply-To: \"X. Y\" <q.r@[1.2.3.4]>", "Sender: <@r1,@r2:a@b>", "Date: Mon, 12 Jan 2026 10:00:00 +0100",
    "In-Reply-To: <a@b>\r\n  <c@d>", "Message-ID: <x@y>", "X: y",
]
LINES = ["text", "", "é a", "-- ", "--b", "--", "Content-Type: message/rfc822", "From: x"]
LEAVES = ["", "Content-Type: text/plain; charset=utf-8\r\n", "Content-Type: image/png; name=\"a b\"\r\n",
          "Content-Type: Message/CPIM\r\n", "Content-Type: application/x; a*=utf-8''%41; b*0=\"1\"; b*1=2\r\n"]


def lines():
    return "".join(random.choice(LINES) + "\r\n" for _ in range(random.randint(0, 5)))


def message(depth=0):
    names = set()
    header = "MIME-Version: 1.0\r\n"
    for field in random.sample(FIELDS, random.randint(0, 7)):
        name = field.split(":")[0]
        if name not in names:
            names.add(name)
            header += field + "\r\n"
    kind = random.random()
    if kind < 0.35 or depth > 3:
        return header + random.choice(LEAVES) + "\r\n" + lines()
    if kind < 0.55:
        return header + "Content-Type: message/rfc822\r\n\r\n" + message(depth + 1)
    boundary = random.choice("cdefg") * random.randint(1, 3)
    subtype = random.choice(["mixed", "digest", "related; type=x"])
    text = header + f"Content-Type: multipart/{subtype}; boundary=\"{boundary}\"\r\n\r\n" + random.choice(["", "pre\r\n"])
    for _ in range(random.randint(0, 4)):
        text += f"--{boundary}\r\n" + message(depth + 1) + "\r\n\r\n"
    return text + random.choice([f"--{boundary}--\r\nepilogue\r\n", f"--{boundary}--\r\n\r\n", ""])


class Session:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline().startswith(b"* PREAUTH")

    def command(self, octets):
        self.process.stdin.write(b"a " + octets + b"\r\n")
        self.process.stdin.flush()
        answer = b""
        while True:
            line = self.process.stdout.readline()
            assert line, answer
            answer += line
            literal = re.search(rb"\{(\d+)\}\r\n$", line)
            if literal:
                answer += self.process.stdout.read(int(literal[1]))
            elif line.startswith(b"a "):
                return answer


session = Session(sys.argv[1:])
session.command(b"CREATE oracle")
messages = [message().encode() for _ in range(40)]
for octets in messages:
    session.command(b"APPEND oracle {%d+}\r\n" % len(octets) + octets)
session.command(b"SELECT oracle")
with open("dovecot.txt", "w", encoding="ascii") as file:
    for number, octets in enumerate(messages, 1):
        file.write(f"message\t{octets.hex()}\n")
        for item in [b"ENVELOPE", b"BODY", b"BODYSTRUCTURE"]:
            answer = session.command(b"FETCH %d %b" % (number, item))
            start = answer.index(b"FETCH (" + item + b" ") + len(b"FETCH (" + item + b" ")
            end = answer.rindex(b")\r\na OK")
            file.write(f"{item.decode()}\t{answer[start:end].hex()}\n")
session.command(b"DELETE oracle")
