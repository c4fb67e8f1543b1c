"""maildrop turns folders into e-mail: drop a folder, it becomes an e-mail, and the folder comes back with the answer.

A module imports only from floors below its own and from its own package, without circles (``tests/test_layers.py``
reads the imports and enforces it):

====  =============  =====================================================
7     cli/           what a person types
6     daemon         the coordinator: watches, hands out, stops cleanly
5     config         typed configuration
5     status/        what a person sees of it
4     delivery/      what to do about a job
3     spool/         where jobs live
2     mail/          what is sent
2     smtp/          how it is spoken
1     errors, log,   how things are said, checked and told to systemd
      schema,
      systemd
====  =============  =====================================================
"""

__version__ = "0.1.0"
