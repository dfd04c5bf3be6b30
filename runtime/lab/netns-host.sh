# SPDX-License-Identifier: Apache-2.0
#
# The first process of a netns host, in namespaces of its own.
#
#	sh netns-host.sh NAME DIR STATE_DIR
#
# DIR is the lab's folder.

set -eu
name=$1 dir=$2 state=$3

# Sources are relative to the lab's folder, and stay in reach through the current
# folder when a mount covers their path. (-c: paths are not made absolute.)
cd "$dir"
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -c --bind "$name/run" /run
mount -c --bind "$name/root" /root
mount -c --bind "$name/tmp" /tmp
mount -c --bind "$name/shadow" /etc/shadow
mkdir -p "$dir" "$state"
mount -t tmpfs -o mode=755 tmpfs "$dir"
mkdir -p "$dir/shared" "$dir/$name"
mount -c --bind shared "$dir/shared"
mount -c --bind "$name" "$dir/$name"
hostname "$name"
cd /

# The shell stays: it takes in orphans, and its environment names the lab.
/usr/sbin/sshd -D -e -f "$dir/$name/sshd_config" &
wait $!
