#!/bin/sh
# Installs what lies beside this script into a root file system: this computer's, or the one at $1 (an image that is being
# built). What is configured there stays. Removes it again: install.sh --remove [ROOT]; the configuration and the outbox stay.
set -eu
umask 022
remove=
if [ "${1:-}" = --remove ]; then
    remove=1
    shift
fi
root=${1:-}
# There has to be one; / is this computer's.
[ ! "$root" ] || root=$(cd "$root" && pwd)
[ "$root" != / ] || root=
here=$(cd "$(dirname "$0")" && pwd)
# On the running system there is somebody to be told.
live=
[ "$root" ] || [ ! -d /run/systemd/system ] || live=1
cd "$here"
wants=etc/systemd/system/multi-user.target.wants

if [ "$remove" ]; then
    [ ! "$live" ] || systemctl disable --now outrider || true
    find usr -type f | while read -r file; do rm -f "$root/$file"; done
    rm -rf "$root/usr/share/doc/outrider" "$root/usr/share/outrider"
    rm -f "$root/$wants/outrider.service"
    [ ! "$live" ] || systemctl daemon-reload
    echo "removed; /etc/outrider and /var/lib/outrider are left"
    exit 0
fi

find usr -type f | while read -r file; do
    mkdir -p "$root/$(dirname "$file")"
    # Under another name first: a program that runs cannot be written to.
    cp "$file" "$root/$file.new"
    mv "$root/$file.new" "$root/$file"
done
mkdir -p "$root/etc/outrider"
[ -e "$root/etc/outrider/keys" ] || mkdir -m 700 "$root/etc/outrider/keys"
if [ -e "$root/etc/outrider/outrider.toml" ]; then
    echo "/etc/outrider/outrider.toml stays as it is"
else
    cp etc/outrider/outrider.toml "$root/etc/outrider/outrider.toml"
    # Enabled, from the first time on: whoever disables it later is not overruled.
    mkdir -p "$root/$wants"
    ln -sf /usr/lib/systemd/system/outrider.service "$root/$wants/outrider.service"
fi
if [ "$live" ]; then
    systemd-sysusers outrider.conf
    systemd-tmpfiles --create outrider.conf
    sysctl -q -p /usr/lib/sysctl.d/90-outrider.conf || true
    systemctl daemon-reload
    # An upgrade: the new one takes over at once.
    systemctl try-restart outrider
    echo "edit /etc/outrider/outrider.toml, then: systemctl start outrider"
elif [ ! "$root" ]; then
    echo "no systemd here: see /usr/share/outrider/S80outrider, and /usr/share/doc/outrider/README.md"
fi
