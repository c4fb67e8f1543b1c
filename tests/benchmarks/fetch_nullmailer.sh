#!/bin/bash
# Unpack Debian's nullmailer for comparison without installing it: fetch_nullmailer.sh FOLDER.
#
# nullmailer and Postfix (whose smtp-sink receives) both are the system's mail server to apt, so only one can be installed;
# unpacked below FOLDER its programs run all the same: FOLDER/usr/sbin/nullmailer-send, FOLDER/usr/lib/nullmailer/smtp.
set -euo pipefail
folder=$(realpath -m "${1:?usage: fetch_nullmailer.sh FOLDER}")
if [ -x "$folder/usr/sbin/nullmailer-send" ]; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "nullmailer is fetched as a Debian package, and this is no Debian or Ubuntu; the comparison is left out." >&2
    exit 69
fi
mkdir -p "$folder"
cd "$folder"
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    chown _apt . 2>/dev/null || true # apt downloads as a user of its own
fi
apt-get download -qq nullmailer
dpkg -x nullmailer_*.deb .
rm -f nullmailer_*.deb
echo "nullmailer unpacked below $folder: $(ls usr/lib/nullmailer | tr '\n' ' ')"
