"""What is sent: from `envelope.toml` and the files of a job, or from a finished `.eml`, to the octets of one message.

Everything here is synchronous and knows neither sockets nor spool: files are read through a `part.Source`, clock and
random tokens are passed in. Read in this order:

    rules      which characters may stand in a header value, a file name, a message identifier
    address    mailboxes: strict grammar, IDNA                             (the only user of idna)
    model      a mail as plain values, and the limits it keeps
    document   the keys of `envelope.toml`, as editors see them too
    keys       one reader for each kind of value: addresses, paths, times, files
    fields     likewise for what becomes a header field as it is
    jobfiles   likewise for what names files of the job
    envelope   `envelope.toml` to a `Mail`: every problem, not the first
    header     header fields to octets: folding, RFC 2047, RFC 2231
    charset    octets of a text file to text; nothing is guessed
    media      the media type that a file's name promises
    lines      line ends of files that are messages already
    part       one body part: transfer encoding, size known beforehand, streamed
    message    the whole message: the tree of parts, identity, `size`, `chunks()`, `needs`
    fieldlist  the header section of a finished message, cut into fields
    pickup     a finished message: sender, recipients, what has to go

What others use is in `address`, `envelope`, `header`, `part`, `message` and `pickup`; the rest stands beside these six
because each answers one question of its own, and because the six would not read well at three times their length.
"""
