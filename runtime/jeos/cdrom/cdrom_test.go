// SPDX-License-Identifier: Apache-2.0

package cdrom

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// scripted is a drive that notes what it is asked.
type scripted struct {
	asked []string
	state int // its answer to CDROM_DRIVE_STATUS
	err   error
}

func (d *scripted) ioctl(request uint, argument int) (int, error) {
	d.asked = append(d.asked, fmt.Sprintf("%#x %#x", request, argument))
	if request == requestStatus {
		return d.state, d.err
	}
	return 0, d.err
}

func (d *scripted) Close() error {
	d.asked = append(d.asked, "closed")
	return nil
}

func TestCommands(t *testing.T) {
	t.Parallel()
	const status, inUse = "0x5326 0x7fffffff, ", "device or resource busy: the tray is locked (cdrom unlock), or the disc is in use (umount)\n"
	tests := []struct {
		args   []string
		drive  scripted
		status int
		asked  string
		want   string // in what it prints
	}{
		{args: []string{"lock"}, asked: "0x5329 0x1, closed"},
		{args: []string{"unlock"}, asked: "0x5329 0x0, closed"},
		{args: []string{"eject"}, drive: scripted{state: 2}, asked: "0x5309 0x0, " + status + "closed"},
		{args: []string{"eject"}, drive: scripted{state: 4}, status: 1, asked: "0x5309 0x0, " + status + "closed", want: "cdrom: eject /dev/sr0: " + inUse},
		{args: []string{"eject", "--device", "/dev/sr1"}, drive: scripted{err: unix.EBUSY}, status: 1, asked: "0x5309 0x0, closed", want: "cdrom: eject /dev/sr1: " + inUse},
		{args: []string{"close"}, drive: scripted{state: 1}, asked: "0x5319 0x0, " + status + "closed"},
		{args: []string{"close"}, drive: scripted{state: 2}, status: 1, asked: "0x5319 0x0, " + status + "closed", want: "does not close its tray"},
		{args: []string{"status"}, drive: scripted{state: 4}, asked: status + "closed", want: "disc\n"},
		{args: []string{"status"}, drive: scripted{state: 2}, asked: status + "closed", want: "tray-open\n"},
		{args: []string{"status"}, drive: scripted{state: 1}, asked: status + "closed", want: "no-disc\n"},
		{args: []string{"status"}, drive: scripted{state: 99}, asked: status + "closed", want: "unknown\n"},
		{args: []string{"open"}, status: 2, want: `got ["open"], want lock, unlock, eject, close or status`},
		{args: nil, status: 2, want: "got [], want lock"},
		{args: []string{"lock", "--hard"}, status: 2, want: "unknown flag: --hard"},
		{args: []string{"--help"}, want: "cdrom lock "},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			status := run(tt.args, &out, &out, func(string) (drive, error) { return drive{&tt.drive}, nil })
			asked := strings.Join(tt.drive.asked, ", ")
			if status != tt.status || asked != tt.asked || !strings.Contains(out.String(), tt.want) {
				t.Errorf("cdrom %s: got status %d, asked %q, printed %q; want %d, %q, %q",
					tt.args, status, asked, out.String(), tt.status, tt.asked, tt.want)
			}
		})
	}
}

func TestNoDrive(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	const want = "cdrom: status /nowhere: no such file or directory: the guest has no such drive (param cdroms)"
	if status := Main([]string{"status", "--device", "/nowhere"}, &out, &out); status != 1 || !strings.HasPrefix(out.String(), want) {
		t.Errorf("got status %d, %q; want 1, %q", status, out.String(), want)
	}
}
