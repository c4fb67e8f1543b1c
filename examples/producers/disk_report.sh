#!/bin/sh
# disk_report.sh [SPOOL]: mail a report from a shell script, for cron or a systemd timer.
#
# The job is built in SPOOL/tmp and renamed into SPOOL/incoming: it appears there whole or not at all.
# Prints the job's name. Exit code 73: the job could not be written; nothing was dropped.
set -eu

spool=${1:-/var/spool/maildropd}
name=disk-report-$(date +%Y%m%d-%H%M%S)-$$ # unique: the result comes back under this name
job=$spool/tmp/$name

fail() {
    echo "disk_report.sh: $1" >&2
    exit 73
}

# Plain mkdir: 'mktemp -d' makes a folder that only its owner can enter, and the daemon is another user.
mkdir "$job" || fail "no folder $job; is $spool the spool?"
trap 'rm -rf "$job"' EXIT # after the rename there is nothing left here to remove

cat >"$job/envelope.toml" <<EOF || fail "cannot write the envelope"
from = "Disk report <cron@example.com>"
to = ["ops@example.org"]
subject = "Disk usage of $(uname -n)"
EOF
df -h >"$job/body.txt" || fail "cannot write the text"

mv "$job" "$spool/incoming/$name" || fail "cannot rename into $spool/incoming" # one filesystem: a rename
echo "$name"
