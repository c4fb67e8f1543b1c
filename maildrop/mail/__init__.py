"""What is sent: from `envelope.toml` and the files of a job, or from a finished `.eml`, to the octets of one message.

Everything here is synchronous and knows neither sockets nor spool: files are read through a `part.Source`, clock and
random tokens are passed in. Read in this order:

    rules      which characters may stand in a header value, a file name, a message identifier
    address    mailboxes: strict grammar, IDNA                             (the only user of idna)
    document   the keys of `envelope.toml`, as editors see them too
    envelope   `envelope.toml` to a `Mail`: every problem, not the first
    header     header fields to octets: folding, RFC 2047, RFC 2231
    charset    octets of a text file to text; nothing is guessed
    media      the media type that a file's name promises
    part       one body part: transfer encoding, size known beforehand, streamed
    message    the whole message: the tree of parts, identity, `size`, `chunks()`, `needs`
    pickup     a finished message: sender, recipients, what has to go

`rules`, `document`, `charset` and `media` stand beside the house's six modules because each is one question that two of
them ask, and because the six would not read well at twice their length.
"""
