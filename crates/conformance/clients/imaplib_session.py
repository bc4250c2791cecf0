"""A session of Python's imaplib: arguments are host, port, user, password.

Does what a script does with a mailbox and checks each answer; says "ok" at the end, or fails with what differed.
"""

import imaplib
import sys
import time


def expect(wanted, got, what):
    if wanted != got:
        raise SystemExit(f"{what}: expected {wanted!r}, got {got!r}")


def ok(answer, what):
    status, data = answer
    expect("OK", status, what)
    return data


def message(number):
    return (
        f"From: sender{number}@example.org\r\nTo: me@example.org\r\nSubject: number {number}\r\n"
        f"Message-ID: <python-{number}@example.org>\r\nDate: Tue, 05 Mar 2024 12:00:{number:02d} +0000\r\n\r\n"
        f"The body of number {number}.\r\n"
    ).encode()


host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
imap = imaplib.IMAP4(host, port)
if "SCRAM-SHA-256" not in str(imap.capabilities) and "AUTH=PLAIN" not in imap.capabilities:
    raise SystemExit(f"no mechanism in {imap.capabilities}")
ok(imap.login(user, password), "login")

# Folders.
ok(imap.create("python"), "create")
ok(imap.create("python/inner"), "create inner")
ok(imap.subscribe("python"), "subscribe")
listed = sorted(line.decode().rsplit(" ", 1)[1].strip('"') for line in ok(imap.list('""', "python*"), "list"))
expect(["python", "python/inner"], listed, "list")
subscribed = [line.decode().rsplit(" ", 1)[1].strip('"') for line in ok(imap.lsub('""', "python*"), "lsub")]
expect(["python"], subscribed, "lsub")

# Messages: octets come back as they went in.
date = imaplib.Time2Internaldate(time.time())
for number in range(10):
    ok(imap.append("python", "(\\Flagged)" if number % 2 else None, date, message(number)), "append")
expect([b"10"], ok(imap.select("python"), "select"), "exists")
for number in range(10):
    data = ok(imap.fetch(str(number + 1), "(BODY.PEEK[] RFC822.SIZE FLAGS)"), "fetch")
    expect(message(number), data[0][1], "octets")
    expect(number % 2 == 1, b"\\Flagged" in data[0][0] + data[1], "flag of APPEND")

# Searching and sorting.
expect([b"2 4 6 8 10"], ok(imap.search(None, "FLAGGED"), "search"), "search flagged")
expect([b"4"], ok(imap.search(None, "SUBJECT", '"number 3"', "BODY", '"of number 3"'), "search"), "search subject")
expect([b"10 9 8"], ok(imap.sort("(REVERSE DATE)", "UTF-8", "8:10"), "sort"), "sort")
expect([b"(1)(2)"], ok(imap.thread("REFERENCES", "UTF-8", "1:2"), "thread"), "thread")

# Flags, copies, partial fetch.
ok(imap.store("1:3", "+FLAGS", "(\\Seen project)"), "store")
expect([b"1 2 3"], ok(imap.search(None, "KEYWORD", "project"), "search"), "search keyword")
ok(imap.copy("1:3", "python/inner"), "copy")
expect([b'python/inner (MESSAGES 3 UNSEEN 0)'], ok(imap.status("python/inner", "(MESSAGES UNSEEN)"), "status"), "status")
if "MULTISEARCH" in ok(imap.capability(), "capability")[0].decode().split():
    ok(imap.xatom("ESEARCH", "IN (subtree python)", "RETURN (COUNT)", "KEYWORD project"), "esearch")
    found = [line.decode().split(" MAILBOX ")[1] for line in imap.response("ESEARCH")[1]]
    expect(["python", "python/inner"], [line.split(" ")[0] for line in found], "searched")
    expect([["COUNT", "3"]] * 2, [line.split(" ")[-2:] for line in found], "found in each")
data = ok(imap.fetch("2", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)]<0.10>)"), "partial")
expect(b"Subject: n", data[0][1], "partial")

# Expunging, by number and by UID.
ok(imap.store("9:10", "+FLAGS.SILENT", "\\Deleted"), "store")
expunged = ok(imap.expunge(), "expunge")
expect(2, len(expunged), "expunged")
uids = ok(imap.uid("SEARCH", "ALL"), "uid search")[0].split()
expect(8, len(uids), "uids")
ok(imap.uid("STORE", b",".join(uids[:2]), "+FLAGS.SILENT", "\\Deleted"), "uid store")
ok(imap.uid("MOVE", uids[7], "python/inner"), "uid move")
ok(imap.close(), "close")
expect([b"5"], ok(imap.select("python", readonly=True), "examine"), "exists after close")
ok(imap.unselect(), "unselect")

# Renaming, deleting, quota, and what must fail.
ok(imap.rename("python", "snake"), "rename")
expect([b'snake/inner (MESSAGES 4)'], ok(imap.status("snake/inner", "(MESSAGES)"), "status"), "moved along")
roots, quotas = ok(imap.getquotaroot("snake"), "getquotaroot")
if not roots:
    raise SystemExit("no quota root")
expect("NO", imap.select("nowhere")[0], "select nowhere")
expect("NO", imap.delete("INBOX")[0], "delete INBOX")
ok(imap.noop(), "noop")
expect("BYE", imap.logout()[0], "logout")
print("ok")
