# When the packages are installed: network, login, and nothing that works by itself later.
set -eu
cd "$1"
echo debian >etc/hostname
: >etc/resolv.conf # this machine's
printf '127.0.0.1 localhost\n127.0.1.1 debian\n' >etc/hosts
echo "LABEL=$label / ext4 errors=remount-ro 0 1" >etc/fstab
cat >etc/systemd/network/80-dhcp.network <<END
[Match]
Type=ether

[Network]
DHCP=yes

# Guests of one image have one machine ID, but each its own address
[DHCPv4]
ClientIdentifier=mac
END
echo 'PermitRootLogin yes' >etc/ssh/sshd_config.d/mhmig.conf
touch root/.hushlogin
chroot . systemctl enable --quiet systemd-networkd.service
chroot . systemctl mask --quiet apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
	e2scrub_all.timer e2scrub_reap.service fstrim.timer getty-static.service
# A password hash that an emulated processor computes quickly
echo "root:$password" | chroot . chpasswd --crypt-method SHA256 --sha-rounds 1000
