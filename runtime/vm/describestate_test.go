// SPDX-License-Identifier: Apache-2.0

package vm_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/runtime/vm"
)

// TestStateCommand: of a VM's command line all that the devices' state depends on is left,
// and nothing that the VM uses.
func TestStateCommand(t *testing.T) {
	t.Parallel()
	const line = `/opt/qemu -L /opt/data -name vm1 -nodefaults -machine pc -accel tcg -m 131064K -smp 2
		-chardev socket,id=qmp,path=/run/vm1.qmp,server=on,wait=off -mon chardev=qmp,mode=control
		-chardev socket,id=serial0,path=/run/a,,b.serial0,server=on -device isa-serial,chardev=serial0,index=0
		-vnc unix:/run/vnc --display none -serial unix:/run/x
		-blockdev driver=file,filename=/images/a,,b.qcow2,node-name=file_a -blockdev driver=qcow2,file=file_a,node-name=drive_a
		-blockdev {"driver":"file","node-name":"disc","read-only":true,"filename":"/x"} -blockdev driver=raw,file=x,node-name=cd,read-only=on
		-drive file=/images/b.qcow2,if=none,id=b,format=qcow2,media=cdrom -device virtio-blk-pci,drive=drive_a,addr=0x10
		-netdev user,id=nic1,hostfwd=tcp:127.0.0.1:0-:22 -netdev tap,id=nic2,ifname=t0 -device virtio-net-pci,netdev=nic1
		-object rng-random,id=r,filename=/dev/urandom -object memory-backend-file,id=mem,size=64M,mem-path=/dev/shm/x,share=on
		-object tls-creds-x509,id=tls,dir=/x -object secret,id=s,file=/y -global hpet.timers=8
		-kernel /vmlinux -initrd /initrd -append quiet -uuid 1234 -S -incoming defer -snapshot`
	const want = `/opt/qemu -L /opt/data -nodefaults -machine pc -accel tcg -m 131064K -smp 2
		-chardev null,id=qmp
		-chardev null,id=serial0 -device isa-serial,chardev=serial0,index=0
		-serial null
		-blockdev driver=null-co,node-name=file_a,read-zeroes=on -blockdev driver=null-co,node-name=drive_a,read-zeroes=on
		-blockdev driver=null-co,node-name=disc,read-zeroes=on,read-only=on -blockdev driver=null-co,node-name=cd,read-zeroes=on,read-only=on
		-drive driver=null-co,read-zeroes=on,if=none,id=b,media=cdrom -device virtio-blk-pci,drive=drive_a,addr=0x10
		-netdev hubport,id=nic1,hubid=0 -netdev hubport,id=nic2,hubid=1 -device virtio-net-pci,netdev=nic1
		-object rng-random,id=r,filename=/dev/urandom -object memory-backend-ram,id=mem,size=64M
		-global hpet.timers=8
		-uuid 1234 -display none -S -monitor stdio`
	if diff := cmp.Diff(strings.Fields(want), vm.StateCommandOf(strings.Fields(line))); diff != "" {
		t.Error(diff)
	}
}

// TestStateMemory: the RAM is made small, where nothing else says how large it is.
func TestStateMemory(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"-m 131064K": "-m 64M", "-m 16G": "-m 64M", "-m 4096": "-m 64M", "-m size=1g": "-m 64M", "-m 16M": "-m 16M", "-m 64M": "-m 64M", "-m 32": "-m 32", "-m x": "-m x",
		"-m 4G -numa node": "-m 4G -numa node", "-m 4G,slots=2,maxmem=8G": "-m 4G,slots=2,maxmem=8G",
	} {
		got := strings.Join(vm.StateCommandOf(strings.Fields("qemu -name vm1 "+line)), " ")
		if got != "qemu "+want+" -display none -S -monitor stdio" {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}
