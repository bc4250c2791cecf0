# A session of Perl's Mail::IMAPTalk: arguments are host, port, two users, and the password of both.
#
# The first shares a mailbox with the second, sets metadata and annotations, and takes the mailbox back; each answer is
# checked. Says "ok" at the end, or fails with what differed.

use strict;
use warnings;
use Mail::IMAPTalk;

my ($host, $port, $owner, $other, $password) = @ARGV;

sub expect ($$$) {
    my ($wanted, $got, $what) = @_;
    $got = 'nothing' unless defined $got;
    $wanted eq $got or die "$what: expected $wanted, got $got\n";
}

# What is wanted of a call that must succeed.
sub ok ($$) {
    my ($got, $what) = @_;
    defined $got or die "$what: $@\n";
    return $got;
}

# A call that must be refused with this response code.
sub refused ($$$) {
    my ($got, $code, $what) = @_;
    die "$what: it succeeded\n" if defined $got;
    $@ =~ /no - \[\Q$code\E\]/i or die "$what: expected NO [$code], got $@\n";
}

# Names and values in one line, sorted.
sub shown {
    my ($hash) = @_;
    return join ' ', map { "$_=" . (defined $hash->{$_} ? $hash->{$_} : 'NIL') } sort keys %$hash;
}

sub login {
    my ($user) = @_;
    return Mail::IMAPTalk->new(
        Server => $host, Port => $port, Username => $user, Password => $password, Uid => 1
    ) || die "login as $user: $@\n";
}

my ($mine, $theirs) = (login($owner), login($other));
for my $capability (qw(acl metadata annotate-experiment-1 list-myrights)) {
    $mine->capability()->{$capability} or die "no $capability is offered\n";
}
my $shown = "Other/$owner/perl";

# Messages.
ok($mine->create('perl'), 'create');
for my $number (1 .. 3) {
    my $message = "From: sender$number\@example.org\r\nSubject: number $number\r\n\r\nText $number.\r\n";
    ok($mine->append('perl', '(\Seen)', { Literal => $message }), 'append');
}

# Rights (RFC 4314). To the other there is no such mailbox before it is shared.
refused($theirs->select($shown), 'NONEXISTENT', 'select before it is shared');
ok($mine->setacl('perl', $other, 'lrs'), 'setacl');
my %rights = @{ ok($mine->getacl('perl'), 'getacl') };
expect('lrs', $rights{$other}, 'rights given');
expect('lrs', ok($theirs->myrights($shown), 'myrights')->[-1], 'rights had');
my @listed = map { $_->[2] } @{ ok($theirs->list('', 'Other/*'), 'list') };
expect("Other/$owner $shown", join(' ', @listed), 'list');
ok($theirs->select($shown), 'select');
my $fetched = ok($theirs->fetch('1:*', 'body.peek[text]'), 'fetch');
expect("Text 2.\r\n", $fetched->{2}{body}, 'text of a message that is shared');
refused($theirs->append($shown, { Literal => "Subject: no\r\n\r\n" }), 'NOPERM', 'append without the right');
refused($theirs->store(1, '+flags', '(\\Deleted)'), 'NOPERM', 'deletion without the right');

# Metadata of the mailbox (RFC 5464): what is private is each one's own.
ok($mine->setmetadata('perl', '/shared/comment', 'Family', '/private/comment', 'Mine'), 'setmetadata');
my $metadata = ok($mine->getmetadata('perl', { depth => 'infinity' }, '/shared', '/private'), 'getmetadata');
expect('/private/comment=Mine /shared/comment=Family', shown($metadata->{perl}), 'metadata');
$metadata = ok($theirs->getmetadata($shown, '/shared/comment', '/private/comment'), 'getmetadata');
expect('/private/comment=NIL /shared/comment=Family', shown($metadata->{$shown}), 'metadata of the other');

# Annotations of a message (RFC 5257), too.
ok($mine->select('perl'), 'select');
for my $value ([ 'value.shared', 'Look' ], [ 'value.priv', 'My own' ]) {
    my @entry = ('/comment', [ $value->[0], { Quote => $value->[1] } ]);
    ok($mine->_imap_cmd('uid store', 0, '', '2', 'annotation', \@entry), 'store of an annotation');
}
my @wanted = ('annotation', [ '/*', [ 'value', 'size.shared' ] ]);
$fetched = ok($mine->fetch(2, @wanted), 'fetch of annotations');
expect(
    'size.shared=4 value.priv=My own value.shared=Look', shown($fetched->{2}{annotation}{'/comment'}), 'annotations'
);
$fetched = ok($theirs->fetch(2, @wanted), 'fetch of annotations');
expect(
    'size.shared=4 value.priv=NIL value.shared=Look',
    shown($fetched->{2}{annotation}{'/comment'}), 'annotations of the other'
);

# Sorting and threading.
expect('3 2 1', join(' ', @{ ok($mine->sort('(reverse subject)', 'UTF-8', 'SEEN'), 'sort') }), 'sort');
ok($mine->thread('REFERENCES', 'UTF-8', 'ALL'), 'thread');

# What is taken back is gone for the other.
ok($theirs->unselect(), 'unselect');
ok($mine->deleteacl('perl', $other), 'deleteacl');
refused($theirs->select($shown), 'NONEXISTENT', 'select after the right is gone');
expect('0', scalar @{ $theirs->list('', 'Other/*') || [] }, 'list after the right is gone');
for my $session ($mine, $theirs) { $session->logout() }
print "ok\n";
