#!/bin/bash
# Unpack Debian's mail servers for the end-to-end tests, installing nothing: fetch_servers.sh FOLDER.
#
# Postfix, Exim and OpenSMTPD each are the system's mail server to apt, so only one can be installed; and each insists on
# users, folders and files of its own. FOLDER becomes the root of a small system that holds them all, Dovecot, the
# libraries they need, and a shell: the tests run them by chroot(8) in a copy of it. Done once; afterwards it is quick.
set -euo pipefail
folder=$(realpath -m "${1:?usage: fetch_servers.sh FOLDER}")
servers=(postfix exim4-base exim4-daemon-light opensmtpd dovecot-core dovecot-lmtpd)
stamp=$(sha256sum <"$0")
if [ "$(cat "$folder/.complete" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "The mail servers are fetched as Debian packages, and this is no Debian or Ubuntu." >&2
    exit 69
fi
fresh=$folder.$$
packages=$fresh/packages
mkdir -p "$packages"
trap 'rm -rf "$fresh"' EXIT
chown _apt "$packages" 2>/dev/null || true # run by root, apt downloads as a user of its own

libraries() { # of the packages wanted so far; a library of theirs that only runs scripts at installation is not needed
    apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances "${wanted[@]}" |
        sed -nE 's/^ *[|]?(PreDepends|Depends): (lib[^ ]+|zlib1g)$/\2/p' | grep -vE '^lib(pam-|perl|python|debian-installer|elogind)'
}

download() {
    local more
    wanted=("${servers[@]}" dash)
    while :; do # libraries of libraries, until there is nothing new
        more=$(libraries) || return
        mapfile -t more < <(printf '%s\n' "${wanted[@]}" "$more" | sort -u)
        [ "${#more[@]}" -gt "${#wanted[@]}" ] || break
        wanted=("${more[@]}")
    done
    (cd "$packages" && apt-get download -qq "${wanted[@]}")
}

# The lists of packages may be missing or old; bringing them up to date takes longer and another apt may hold the lock.
download 2>/dev/null || { apt-get update -qq && download; }
for package in "$packages"/*.deb; do dpkg -x "$package" "$fresh"; done
rm -rf "$packages" "$fresh"/usr/share/{doc,man,locale,lintian,bug}
for name in bin sbin lib lib64; do # older packages have /bin and /usr/bin, newer ones expect them to be one
    mkdir -p "$fresh/usr/$name"
    if [ -d "$fresh/$name" ] && [ ! -L "$fresh/$name" ]; then
        cp -a "$fresh/$name/." "$fresh/usr/$name/"
        rm -rf "${fresh:?}/$name"
    fi
    ln -sfn "usr/$name" "$fresh/$name"
done
find "$fresh" -perm /6000 -exec chmod ug-s {} + # nothing here needs to act for another user than its caller
echo "$stamp" >"$fresh/.complete"
rm -rf "$folder"
mv -T "$fresh" "$folder"
echo "Mail servers unpacked below $folder: ${servers[*]}"
