# SPDX-License-Identifier: Apache-2.0
#
# The first process of a netns host, in namespaces of its own.
#
#	sh netns-host.sh NAME DIR STATE_DIR STATES VERSIONS
#
# DIR is the lab's folder, STATES that in which all labs keep saved states of guests, and
# VERSIONS that with QEMUs of other versions.

set -eu
name=$1 dir=$2 state=$3 states=$4 versions=$5

# Sources are relative to the lab's folder, and stay in reach through the current
# folder when a mount covers their path. (-c: paths are not made absolute.)
cd "$dir"
exec 9<"$states" 8<"$versions" # stay in reach too
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
mkdir -p "$states" "$versions"
mount -c --bind /proc/self/fd/9 "$states"
mount -c --bind /proc/self/fd/8 "$versions"
exec 9<&- 8<&-
hostname "$name"
cd /

# The shell stays: it takes in orphans, and its environment names the lab.
/usr/sbin/sshd -D -e -f "$dir/$name/sshd_config" &
wait $!
