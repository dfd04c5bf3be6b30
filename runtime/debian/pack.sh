# Makes a disk with this label of the installed system, in the working directory.
set -eu
mkdir root
trap 'rm -rf root root.tar' EXIT
tar -C root --numeric-owner -xpf root.tar
mkdir -p root/dev # where the initrd moves its own
: >root/etc/machine-id # each guest that boots makes its own
cp root/boot/vmlinuz-* kernel
cp root/boot/initrd.img-* initrd
chmod 644 kernel initrd
# All of the file system is initialized here: a guest that does it later writes all the time
mke2fs -q -t ext4 -L "$1" -J size=16 -E lazy_itable_init=0,lazy_journal_init=0 -d root disk.raw 2G
