"""What a person sees of the spool and the relays: one picture for the command and whatever else shows it."""
