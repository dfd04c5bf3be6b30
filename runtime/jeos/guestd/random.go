// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SeedFile holds random bytes that were made together with the image.
const SeedFile = "/etc/guestd.seed"

// SeedSize is the size of SeedFile in bytes.
const SeedSize = 32

// seedRandom gives the kernel the image's random bytes where it has gathered
// none of its own. An emulated machine without virtio-rng has no source of
// randomness but its timers, and the first login would wait a second for them.
// The price is that who has the image and the time of the boot may guess the
// guest's session keys; who has the image also has the password.
func seedRandom() error {
	var probe [1]byte
	if _, err := unix.Getrandom(probe[:], unix.GRND_NONBLOCK); !errors.Is(err, unix.EAGAIN) {
		return nil
	}
	seed, err := os.ReadFile(SeedFile)
	if err != nil {
		return err
	}
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	// The time tells apart two boots of one image. It is mixed in, not counted.
	if _, err := fmt.Fprint(random, time.Now().UnixNano()); err != nil {
		return err
	}
	entropy := struct { // struct rand_pool_info of linux/random.h
		bits, size int32
		seed       [SeedSize]byte
	}{bits: SeedSize * 8, size: SeedSize}
	copy(entropy.seed[:], seed)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&entropy)))
	if errno != 0 {
		return fmt.Errorf("seed the kernel's random numbers: %w", errno)
	}
	return nil
}
