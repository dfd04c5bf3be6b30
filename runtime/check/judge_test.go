// SPDX-License-Identifier: Apache-2.0

package check

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/host"
)

// TestVerdicts has, for each judgement, a good host and faults that it is there to find.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	nfs := func(options string) finding {
		m, _ := mountOf("36 35 0:52 / /images rw,relatime shared:1 - nfs4 nas:/vol rw,vers=4.2,"+options, "/images")
		return judgeMount("/images", m, true)
	}
	large := &needs{memory: 4 << 30, largest: "big"}
	second := func(host string, offset, within time.Duration) reading {
		return reading{host: host, offset: offset, within: within}
	}
	tests := []struct {
		name string
		got  finding
		want Verdict
		says string // in found or fix
	}{
		{"key", judgeLogin(host.Login{Method: "publickey", Key: "~/.ssh/id"}, host.Config{}, host.Facts{User: "root"}, time.Millisecond), OK, "root by ~/.ssh/id, round trip 1.0 ms"},
		{"password", judgeLogin(host.Login{Method: "password"}, host.Config{User: "root", Address: "a.b", Port: 22}, host.Facts{User: "root"}, 0), Warning, "ssh-copy-id -p 22 root@a.b"},
		{"refused login", failBy(&host.AuthError{Host: "h", User: "root", Endpoint: "a.b:22"}), Failed, "try ssh-copy-id root@a.b"},

		{"tool missing", judgeMissing([]tool{{name: "setsid", pkg: "util-linux"}}, true), Failed, "apt-get install --yes --no-install-recommends util-linux"},
		{"two of a package", judgeMissing([]tool{{name: "qemu-img", pkg: "qemu-utils"}, {name: "cat", pkg: "coreutils"}, {name: "cut", pkg: "coreutils"}}, false), Failed, "sudo apt-get install --yes --no-install-recommends coreutils qemu-utils"},
		{"optional tool missing", judgeMissing([]tool{{name: "nft", pkg: "nftables", optional: "host.block_port"}}, true), Warning, "nft (for host.block_port)"},
		{"own program missing", judgeMissing([]tool{{name: "/opt/qemu"}}, true), Failed, "set the param"},

		{"one version", judgeVersions(map[build][]string{{"q", "7.2.0"}: {"a", "b"}, {"other", "8.0.0"}: {"a"}}), OK, "q 7.2.0 on a, b"},
		{"two versions", judgeVersions(map[build][]string{{"q", "7.2.0"}: {"a"}, {"q", "8.0.0"}: {"b"}}), Warning, "q 7.2.0 on a; q 8.0.0 on b"},

		{"hard NFS", nfs("hard,noac,local_lock=none"), OK, "nas:/vol"},
		{"soft NFS", nfs("soft,noac,local_lock=none"), Warning, "with the options hard"},
		{"NFS without locks", nfs("hard,noac,local_lock=all"), Warning, "with the options lock"},
		{"NFS with cached attributes", nfs("hard,local_lock=none"), Warning, "drive_cache = none does without noac"},
		{"no folder", noFolder("/images", "root"), Failed, "mkdir -p /images"},

		{"enough memory", judgeMemory(large, 16<<30, 9<<30, 2), OK, "the VMs of big need 8.0 GiB for 2 hosts"},
		{"memory in use", judgeMemory(large, 16<<30, 7<<30, 2), Warning, "7.0 GiB of 16.0 GiB free"},
		{"too little memory", judgeMemory(large, 7<<30, 7<<30, 2), Failed, "param mem"},

		{"nothing left", judgeLeftovers([]string{""}), OK, "none"},
		{"left", judgeLeftovers([]string{"folder /tmp/mhmig-a", "process 1", "process 2", "process 3"}), Warning, "process 2; and 1 more"},

		{"clocks in step", judgeClocks([]reading{second("a", 20*time.Second, 0), second("b", 21*time.Second, 0)}), OK, "a +20.00 s"},
		{"clocks apart", judgeClocks([]reading{second("a", 0, 0), second("b", -1500*time.Millisecond, 10*time.Millisecond), second("c", 0, 0)}), Warning, "clocks of b and a"},
		{"clocks unknown", judgeClocks([]reading{second("a", 0, time.Second), second("b", 1500*time.Millisecond, time.Second)}), OK, "±1.00"},

		{"packets dropped", judgeRefusal("a", "b", "b:4711", "4711", host.Output{Status: 124}), Failed, "no answer within 5 s"},
		{"connection refused", judgeRefusal("a", "b", "b:4711", "", host.Output{Status: 1, Stderr: []byte("qemu: -chardev x: Failed to connect to 'b:4711': Connection refused\n")}), Failed, "at b:4711: Failed to connect to 'b:4711': Connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if tt.got.verdict != tt.want || !strings.Contains(tt.got.found+"\n"+tt.got.fix, tt.says) {
				t.Errorf("got %+v, want %s with %q", tt.got, tt.want, tt.says)
			}
		})
	}
	for free, want := range map[int64]Verdict{1 << 20: Failed, 500 << 20: Warning, 2 << 30: OK} {
		if got := judgeDisk(free, 1<<30); got != want {
			t.Errorf("judgeDisk(%s): got %s, want %s", size(free), got, want)
		}
	}
}

func TestMountOf(t *testing.T) {
	t.Parallel()
	const mountinfo = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
36 22 0:52 /x /my\040images rw,relatime shared:1 master:2 - nfs4 nas:/vol rw,soft
37 36 0:53 / /my\040images rw - tmpfs tmpfs rw
garbage
38 22 0:54 / /my rw -
`
	for path, want := range map[string]string{
		"/my images": "tmpfs", "/my images/a": "tmpfs", // the upper of two mounts
		"/my imagesX": "ext4", "/": "ext4", "/my/images": "ext4",
	} {
		if m, found := mountOf(mountinfo, path); !found || m.kind != want {
			t.Errorf("mountOf(%q): got %+v, want %s", path, m, want)
		}
	}
	if m, found := mountOf("garbage", "/"); found {
		t.Errorf("mountOf of garbage: got %+v, want none", m)
	}
}

func TestAvailableDisk(t *testing.T) {
	t.Parallel()
	const head = "Filesystem     1024-blocks      Used Available Capacity Mounted on\n"
	for line, want := range map[string]int64{
		"/dev/vda          61611820  9158696  49908072      16% /\n":           49908072 << 10,
		"nas:/my vol 1  2 3 4 5 61611820  9158696  12      16% /my folder 1\n": 12 << 10,
		"none 0 0 0 - /run\n": 0,
	} {
		if got, err := availableDisk(head + line); err != nil || got != want {
			t.Errorf("availableDisk(%q): got %d, %v, want %d", line, got, err, want)
		}
	}
	for _, text := range []string{"", head, head + "nothing here\n"} {
		if got, err := availableDisk(text); err == nil {
			t.Errorf("availableDisk(%q): got %d, want an error", text, got)
		}
	}
}

func TestAvailableMemory(t *testing.T) {
	t.Parallel()
	if got, err := availableMemory("MemTotal:       24615316 kB\nMemAvailable:   23615316 kB\n"); err != nil || got != 23615316<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	if got, err := availableMemory("MemTotal:       24615316 kB\n"); err == nil {
		t.Errorf("without MemAvailable: got %d, want an error", got)
	}
}

func TestParseClock(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		nanoseconds int64
		step        time.Duration
	}{
		"1700000000.250000000\n": {1700000000_250000000, 0},
		"1700000000.%N\n":        {1700000000_000000000, time.Second}, // a date without %N
		"1700000000.N\n":         {1700000000_000000000, time.Second},
	} {
		got, step, err := parseClock(text)
		if err != nil || got.UnixNano() != want.nanoseconds || step != want.step {
			t.Errorf("parseClock(%q): got %d, %v, %v, want %+v", text, got.UnixNano(), step, err, want)
		}
	}
	if got, _, err := parseClock("never"); err == nil {
		t.Errorf("parseClock(never): got %v, want an error", got)
	}
}

func TestWriteText(t *testing.T) {
	t.Parallel()
	report := Report{Hosts: []string{"a", "b"}, Checks: []Result{
		{Check: "ssh", Hosts: []string{"a"}, Found: "root by a key\x1b[2J"},
		{Check: "firewall", Hosts: []string{"a", "b"}, Verdict: Failed, Found: "a cannot connect to QEMU at b", Fix: "open a port, which is a line that is pasted and so not wrapped"},
		{Check: "clocks", Hosts: []string{"a", "b"}, Verdict: Warning, Found: "apart"},
		{Check: "guest-image", Verdict: Skipped, Found: "no variant needs one"},
	}}
	for width, want := range map[int]string{
		100: `CHECK        HOST          VERDICT  FOUND
ssh          a             ok       root by a key\x1b[2J
firewall     a -> b        failed   a cannot connect to QEMU at b
    fix: open a port, which is a line that is pasted and so not wrapped
clocks       all hosts     warning  apart
guest-image  this machine  skipped  no variant needs one

4 checks: 1 ok, 1 skipped, 1 warning, 1 failed
`,
		40: `CHECK        HOST          VERDICT
ssh          a             ok
    root by a key\x1b[2J
firewall     a -> b        failed
    a cannot connect to QEMU at b
    fix: open a port, which is a line that is pasted and so not wrapped
clocks       all hosts     warning
    apart
guest-image  this machine  skipped
    no variant needs one

4 checks: 1 ok, 1 skipped, 1 warning, 1 failed
`,
	} {
		var b bytes.Buffer
		report.WriteText(&b, width, false)
		if b.String() != want {
			t.Errorf("width %d: got\n%s\nwant\n%s", width, b.String(), want)
		}
	}
	var b bytes.Buffer
	report.WriteText(&b, 100, true)
	if !strings.Contains(b.String(), "\x1b[31mfailed\x1b[0m") {
		t.Errorf("with colours: got %q", b.String())
	}
}
