#!/usr/bin/perl
# Verifies DKIM signatures with Mail::DKIM, an implementation that shares nothing with dkimpy.
#
# The arguments are pairs of a name in the DNS and its TXT record; there are no other names. On standard input each
# message follows its length, four octets in network order; on standard output each gets one line: "pass", "fail",
# "invalid" or "none", with Mail::DKIM's remark behind it. No arguments at all: says whether it knows Ed25519.
use strict;
use warnings;

use Mail::DKIM::DNS;
use Mail::DKIM::Verifier;

package Zone {
    use Net::DNS;

    sub new { my ($class, %records) = @_; return bless \%records, $class }

    sub send {
        my ($self, $name, $type) = @_;
        my $answer = Net::DNS::Packet->new($name, $type);
        my $record = $self->{$name};
        $answer->header->rcode(defined $record ? 'NOERROR' : 'NXDOMAIN');
        if (defined $record) {
            my @strings = unpack '(a255)*', $record;
            $answer->push(answer => Net::DNS::RR->new(owner => $name, type => 'TXT', txtdata => \@strings));
        }
        return $answer;
    }

    sub errorstring { return 'NOERROR' }
}

if (!@ARGV) {
    print eval { require Mail::DKIM::Algorithm::ed25519_sha256 } ? "ed25519\n" : "rsa\n";
    exit;
}
Mail::DKIM::DNS::resolver(Zone->new(@ARGV));
binmode STDIN;
while (read STDIN, my $length, 4) {
    read STDIN, my $message, unpack 'N', $length;
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($message);
    $verifier->CLOSE;
    print $verifier->result, ' ', $verifier->result_detail, "\n";
}
