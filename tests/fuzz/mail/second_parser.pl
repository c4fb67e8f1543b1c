#!/usr/bin/perl
# Reads messages with Email::MIME and Email::Address::XS, an implementation that shares nothing with Python's.
#
# On standard input each message follows its length, four octets in network order; on standard output each gets one line
# of JSON: subject, people, tree of parts with the digests of their decoded content, and every warning of the libraries.
use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use Email::Address::XS qw(parse_email_addresses);
use Email::MIME;
use Encode ();
use Encode::MIME::Header;
use JSON::XS ();

$Encode::MIME::Header::STRICT_DECODE = 1;
$Email::MIME::ContentType::STRICT_PARAMS = 1;

my @warnings;
local $SIG{__WARN__} = sub { push @warnings, $_[0] =~ s/ at \S+ line .*//sr };

sub words { my ($text) = @_; return $text =~ /=\?/ ? Encode::decode('MIME-Header', $text) : Encode::decode('UTF-8', $text) }

# Email::Simple replaces each fold and the blanks behind it by one blank. RFC 5322 2.2.3 removes the CRLF and nothing
# else, so the lines that it keeps beside its own value are unfolded here.
sub raw_fields {
    my ($part) = @_;
    my @headers = @{ $part->header_obj->{headers} };
    my @fields;
    while (my ($name, $value) = splice @headers, 0, 2) {
        my $raw = $value->[1] =~ s/\A[^:]*:[ ]?//r =~ s/\r\n(?=[ \t])//gr;
        push @fields, [$name, $raw];
    }
    return @fields;
}

sub people {
    my ($raw) = @_;
    return [map { [words($_->phrase // ''), Encode::decode('UTF-8', $_->user // ''), $_->host // ''] }
        parse_email_addresses($raw)];
}

sub tree {
    my ($part) = @_;
    my $ct = $part->{ct};
    my %found = (type => "$ct->{type}/$ct->{subtype}");
    my @inner = $part->subparts;
    if (@inner) {
        $found{children} = [map { tree($_) } @inner];
        return \%found;
    }
    my $disposition = $part->header_raw('Content-Disposition');
    # Not $part->filename: a file named "0" is false for it.
    my $filename = defined $disposition
        ? Email::MIME::ContentType::parse_content_disposition($disposition)->{attributes}{filename} : undef;
    $found{name} = $filename if defined $filename;
    my $old = $ct->{attributes}{name};
    $found{old_name} = words($old) if defined $old;
    my $content_id = $part->header_raw('Content-ID');
    $found{content_id} = $content_id if defined $content_id;
    $found{digest} = sha1_hex($part->body);
    return \%found;
}

my $json = JSON::XS->new->ascii->canonical;
binmode STDIN;
$| = 1;
while (read(STDIN, my $length, 4) == 4) {
    my $octets = '';
    my $left = unpack 'N', $length;
    while ($left > 0) {
        my $got = read(STDIN, $octets, $left, length $octets);
        die "cut off\n" unless $got;
        $left -= $got;
    }
    @warnings = ();
    my %answer;
    eval {
        my $message = Email::MIME->new($octets);
        my %people;
        my @names;
        $answer{subject} = '';
        for my $field (raw_fields($message)) {
            my ($name, $raw) = @$field;
            push @names, $name;
            $people{$name} = people($raw) if $name =~ /\A(?:From|Sender|Reply-To|To|Cc)\z/;
            $answer{subject} = words($raw) if $name eq 'Subject';
        }
        @answer{qw(names people tree)} = (\@names, \%people, tree($message));
        1;
    } or push @warnings, "died: $@";
    $answer{warnings} = [@warnings];
    print $json->encode(\%answer), "\n";
}
