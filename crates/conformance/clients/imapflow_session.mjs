// A session of npm's imapflow: arguments are host, port, user, password.
//
// Its own ways through ENABLE, CONDSTORE, QRESYNC, IDLE, MOVE and ESEARCH; says "ok" at the end, or fails.

import { createRequire } from 'node:module';
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';

// The package lives in a folder of its own, named by NODE_PATH.
const require = createRequire(pathToFileURL(process.env.NODE_PATH + '/'));
const { ImapFlow } = require(process.env.NODE_PATH + '/imapflow');

const [host, port, user, pass] = process.argv.slice(2);

function client(extra = {}) {
    return new ImapFlow({
        host, port: Number(port), secure: false, doSTARTTLS: false, auth: { user, pass }, logger: false, ...extra
    });
}

function message(number) {
    return Buffer.from(
        `From: sender${number}@example.org\r\nTo: me@example.org\r\nSubject: number ${number}\r\n` +
        `Message-ID: <flow-${number}@example.org>\r\n\r\nThe body of number ${number}.\r\n`
    );
}

function once(emitter, event) {
    return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no ${event} event`)), 20000);
        emitter.once(event, value => { clearTimeout(timer); resolve(value); });
    });
}

const first = client({ qresync: true });
await first.connect();
assert.ok(first.enabled.has('CONDSTORE') || first.enabled.has('QRESYNC'), 'CONDSTORE or QRESYNC is enabled');

const created = await first.mailboxCreate('flow');
assert.equal(created.created, true);
assert.ok(created.mailboxId, 'CREATE answers with MAILBOXID');
for (let number = 0; number < 5; number++) {
    const appended = await first.append('flow', message(number), number % 2 ? ['\\Seen'] : []);
    assert.ok(appended.uid, 'APPENDUID');
}
const box = await first.mailboxOpen('flow');
assert.equal(box.exists, 5);
assert.ok(box.highestModseq > 0n, 'HIGHESTMODSEQ');
const seenUntil = box.highestModseq;
const uidValidity = box.uidValidity;

// Reading.
const structure = await first.fetchOne('2', { uid: true, flags: true, envelope: true, bodyStructure: true, source: true, size: true });
assert.equal(structure.envelope.subject, 'number 1');
assert.equal(structure.bodyStructure.type, 'text/plain');
assert.deepEqual(structure.source, message(1));
assert.equal(structure.size, message(1).length);
assert.ok(structure.flags.has('\\Seen'));
const { content } = await first.download(String(structure.uid), undefined, { uid: true });
const pieces = [];
for await (const piece of content) pieces.push(piece);
assert.deepEqual(Buffer.concat(pieces), message(1));

// Searching.
assert.deepEqual(await first.search({ seen: true }), [2, 4]);
assert.deepEqual(await first.search({ header: { subject: 'number 3' } }), [4]);
const status = await first.status('flow', { messages: true, unseen: true, highestModseq: true, size: true });
assert.deepEqual([status.messages, status.unseen], [5, 3]);

// IDLE: a second session changes things, and the first hears of each.
const second = client();
await second.connect();
const lock = await second.getMailboxLock('flow');
const idling = first.idle();
let heard = once(first, 'exists');
await second.append('flow', message(5));
assert.equal((await heard).count, 6);
heard = once(first, 'flags');
await second.messageFlagsAdd('1', ['\\Flagged']);
const flagged = await heard;
assert.ok(flagged.flags.has('\\Flagged'));
heard = once(first, 'expunge');
await second.messageDelete('3');
const gone = await heard;
assert.ok(gone.vanished ? gone.uid > 0 : gone.seq === 3, 'EXPUNGE or VANISHED');
await first.noop();
await idling;

// What changed since: CONDSTORE.
const changed = [];
for await (const entry of first.fetch('1:*', { uid: true, flags: true }, { uid: true, changedSince: seenUntil })) {
    changed.push(entry.uid);
}
assert.ok(changed.length >= 2, `changed: ${changed}`);

// Moving and copying.
await second.mailboxCreate('flow/archive');
const moved = await second.messageMove('1:2', 'flow/archive');
assert.equal(moved.uidMap.size, 2);
const copied = await second.messageCopy('1', 'flow/archive');
assert.equal(copied.uidMap.size, 1);
lock.release();
assert.equal((await second.status('flow/archive', { messages: true })).messages, 3);

// A new session opens the mailbox with QRESYNC from what the first saw, and hears what vanished.
const third = client({ qresync: true });
await third.connect();
const vanished = [];
third.on('expunge', event => vanished.push(event));
const reopened = await third.mailboxOpen('flow', { changedSince: seenUntil, uidValidity });
assert.equal(reopened.uidValidity, uidValidity);
assert.equal(vanished.length, 3, `VANISHED (EARLIER): ${vanished.map(event => event.uid)}`);
assert.equal(reopened.exists, 3);
assert.ok(reopened.highestModseq > seenUntil);

const tree = await third.list({ statusQuery: { messages: true } });
const paths = tree.map(entry => entry.path).sort();
for (const path of ['INBOX', 'flow', 'flow/archive']) assert.ok(paths.includes(path), path);
await third.mailboxRename('flow/archive', 'kept');
await third.mailboxDelete('kept');
const quota = await third.getQuota('INBOX');
assert.ok(quota, 'QUOTA');
for (const session of [first, second, third]) await session.logout();
console.log('ok');
