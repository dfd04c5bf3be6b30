# Before packages are installed: the initrd has only the drivers that QEMU's disks need.
mkdir -p "$1/etc/initramfs-tools/conf.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/mhmig"
printf '%s\n' virtio_pci virtio_blk virtio_scsi ata_piix ahci sd_mod ext4 >"$1/etc/initramfs-tools/modules"
