"""Where jobs live: one directory, one filesystem, and a folder that *is* the state of every job in it.

A job is in exactly one folder at any moment, each change of state is one ``rename(2)``, and recovery is "look and
continue". Nothing here knows what a message is, what a server said, or when the next attempt is due.

The states
==========

========  ============  ==========================================================================================
state     who writes    a job here
========  ============  ==========================================================================================
incoming  producers     was dropped; perhaps still being written. Nothing of ours is in it
active    maildropd     is claimed and being worked on, or was when the daemon ended
deferred  maildropd     waits for ``next_attempt`` of its ``result.toml``
held      maildropd     was stopped by a person
sent      maildropd     was delivered to the relay; ``result.toml`` says how
failed    maildropd     needs a person; ``result.toml`` says why
========  ============  ==========================================================================================

The transitions
===============

====================  =========================  ================================================================
from → to             call                       what is durable when it returns
====================  =========================  ================================================================
incoming → active     ``job.claim``              nothing new: after a power cut the job may be in incoming again
deferred → active     ``job.resume``             nothing new, likewise
active (no change)    ``Job.note``               ``result.toml``
active (no change)    ``Job.prepare``            the record of what happens if the server says yes. Comes *before*
                                                 the final dot; nothing is created after it
active → sent/failed  ``Job.accept(state)``      the move, after a sync of ``Job.landing`` (one for all jobs of a
                                                 turn). One rename and nothing else; works on a full disk
active (no change)    ``Job.accept(None)``       the same for a transaction that leaves recipients over:
                                                 ``result.next`` becomes ``result.toml``
sent/failed           ``Job.finish``             nothing: the reply's words replace the prepared record
active → deferred     ``Job.defer``              ``result.toml``; the move after a sync of ``Job.landing``
active → sent/failed  ``Job.settle``             ``result.toml``; the move after a sync of ``Job.landing``
failed → active       ``byhand.retry``           both; a deferred job goes by way of failed
====================  =========================  ================================================================

``result.toml`` is always written before the move that it explains, so a job found in active tells all by itself:

==========================================  =====================================================================
in active/NAME, after the daemon died       means, and ``recovery.recover`` does
==========================================  =====================================================================
an empty folder of ours                     half a claim of a single file (it is still in incoming): removed
no ``result.toml``, or a torn one           never sent: the final dot is not sent before the record is durable.
                                            A torn one is put aside as ``result.toml.torn``
terminal outcome, delivered recipients      **in doubt**: the dot may have been sent. Left in active; ``Job.doubt``
that have neither code nor text             names the recipients
a ``result.next`` with such recipients      likewise
a ``result.next`` without such              a note that was cut short: becomes ``result.toml``
any other ``result.toml``                   all is known, only the move is missing: moved where its outcome belongs
``READY``, ``.result.toml.tmp`` and such    leftovers: removed
==========================================  =====================================================================

A move never overwrites. A job whose name is taken becomes ``NAME.2``, ``NAME.3`` …, shortened to 255 octets.

File names are ``str`` as ``os.fsdecode`` makes them. Errors of the disk (full, broken, out of descriptors) are
``OSError`` and pass through everything here; ``durable.is_local_trouble`` recognises them.
"""
