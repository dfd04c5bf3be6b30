// SPDX-License-Identifier: Apache-2.0

package clockwork

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SeedSize is how many random bytes a restored guest gets.
const SeedSize = 32

// Restored tells a guest that it was not booted but restored from a saved state: it has
// the clock, the randomness and all else of the moment of saving, as every other guest
// has that was restored from it. The host writes one to the port before anybody logs
// in. The guest's answer, when it has done as told, is that its stamps have the Life of
// the message.
type Restored struct {
	Now  time.Time // the host's
	Seed [SeedSize]byte
}

const (
	restoredLead = 'R'
	// maxRestored is more bytes than the line of any Restored has.
	maxRestored = 128
)

// Append appends the message as a line: R, then in hexadecimal the nanoseconds since
// 1970 and the seed.
func (r *Restored) Append(line []byte) []byte {
	line = append(line, restoredLead)
	line = strconv.AppendInt(line, r.Now.UnixNano(), 16)
	line = append(line, ' ')
	line = hex.AppendEncode(line, r.Seed[:])
	return append(line, '\n')
}

// ParseRestored reads a line without its end. It accepts only what Append writes.
func ParseRestored(line []byte) (r Restored, ok bool) {
	if len(line) == 0 || len(line) >= maxRestored || line[0] != restoredLead {
		return Restored{}, false
	}
	now, seed, _ := bytes.Cut(line[1:], []byte(" "))
	nanoseconds, err := strconv.ParseInt(string(now), 16, 64)
	if err != nil || len(seed) != hex.EncodedLen(SeedSize) {
		return Restored{}, false
	}
	if _, err := hex.Decode(r.Seed[:], seed); err != nil {
		return Restored{}, false
	}
	r.Now = time.Unix(0, nanoseconds)
	written := r.Append(make([]byte, 0, maxRestored))
	return r, bytes.Equal(line, written[:len(written)-1])
}

// inbox collects what the host writes to the port, line by line.
type inbox struct {
	rest []byte // of a line that has not ended
}

// take adds bytes, and returns the last Restored that has come with them, if any.
func (in *inbox) take(p []byte) (r Restored, ok bool) {
	in.rest = append(in.rest, p...)
	for {
		line, rest, ended := bytes.Cut(in.rest, []byte("\n"))
		if !ended {
			if len(in.rest) > maxRestored { // no line of ours
				in.rest = in.rest[:0]
			}
			return r, ok
		}
		if parsed, valid := ParseRestored(line); valid {
			r, ok = parsed, true
		}
		in.rest = rest
	}
}

// apply gives the guest the host's time and its own randomness, and says so on its
// console, which has shown nothing else to whoever looks at it now.
func (r *Restored) apply() error {
	_ = os.WriteFile("/dev/console", []byte("\nrestored from a saved state\n"), 0) // without one nobody looks
	now := unix.NsecToTimespec(r.Now.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return reseed(r.Seed)
}

// reseed gives the kernel random bytes, and makes it use them at once: else it would
// go on with its old key for up to a minute.
func reseed(seed [SeedSize]byte) error {
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	entropy := struct { // struct rand_pool_info of linux/random.h
		bits, size int32
		seed       [SeedSize]byte
	}{SeedSize * 8, SeedSize, seed}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), unix.RNDADDENTROPY, uintptr(unsafe.Pointer(&entropy))); errno != 0 {
		return fmt.Errorf("give the kernel random bytes: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, random.Fd(), rndReseedCRNG, 0); errno != 0 {
		return fmt.Errorf("make the kernel use its random bytes: %w", errno)
	}
	return nil
}

// rndReseedCRNG is RNDRESEEDCRNG of linux/random.h.
const rndReseedCRNG = 0x5207

// Life is that of the guest's stamps from then on: no other guest has it that was
// restored from the same state.
func (r *Restored) Life() uint64 {
	var n uint64
	for _, b := range r.Seed[:4] {
		n = n<<8 | uint64(b)
	}
	return n & math.MaxUint32
}
