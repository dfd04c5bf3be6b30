// SPDX-License-Identifier: Apache-2.0

package lab_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/lab"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root")
	}
}

func TestNetnsHosts(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	needRoot(t)
	l, other := start(t, lab.Netns, 2), start(t, lab.Netns, 2)
	if l.State().Subnet == other.State().Subnet {
		t.Errorf("two labs share the network %s", l.State().Subnet)
	}
	for i, c := range l.Hosts() {
		h := dial(t, c)
		if got := run(t, h, "hostname; whoami; pwd"); got != c.Name+"\nroot\n/root" {
			t.Errorf("got %q", got)
		}
		if got := run(t, h, "ps -e | wc -l"); len(got) > 2 {
			t.Errorf("%s sees %s processes", c.Name, got)
		}
		if got := run(t, h, "ls -A /tmp /root; touch /tmp/mine /run/mine"); strings.Contains(got, "mine") {
			t.Errorf("%s sees %q", c.Name, got)
		}
		if got := run(t, h, "ls "+l.State().Dir+" | tr '\\n' ' '"); got != c.Name+" shared" {
			t.Errorf("%s sees %q of the lab's folder", c.Name, got)
		}
		peer := l.Hosts()[1-i].Address
		run(t, h, "bash -c 'exec 3<>/dev/tcp/"+peer+"/22'")
		if got := run(t, h, "cat /sys/class/net/br0/address"); got != fmt.Sprintf("02:4d:48:00:%02x:%02x", subnetOctet(t, l), i+1) {
			t.Errorf("%s: the bridge has the address %s", c.Name, got)
		}
		run(t, h, daemon)
		// What ends without a parent is waited for, as soon as the machine comes to it.
		const zombies = "(sleep 0.01 &); sleep 0.1; n=0; while [ $n -lt 100 ] && ps -eo stat | grep -q Z; do n=$((n + 1)); sleep 0.1; done; ps -eo stat | grep -c Z || true"
		if got := run(t, h, zombies); got != "0" {
			t.Errorf("%s: zombies: %s", c.Name, got)
		}
	}
}

func subnetOctet(t *testing.T, l *lab.Lab) (x int) {
	t.Helper()
	if _, err := fmt.Sscanf(l.State().Subnet, "10.77.%d.0/24", &x); err != nil {
		t.Fatal(err)
	}
	return x
}

// An interrupt ends the wait for another lab that is making its network.
func TestNetnsIsInterrupted(t *testing.T) {
	needRoot(t)
	other, err := os.Open("/run")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	release := time.AfterFunc(10*time.Second, func() {
		t.Error("it still waits")
		syscall.Flock(int(other.Fd()), syscall.LOCK_UN)
	})
	defer release.Stop()
	interrupted := errors.New("interrupted")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, interrupted)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "lab")
	_, err = lab.Start(ctx, lab.Options{Hosts: 1, Kind: lab.Netns, Dir: dir})
	if !errors.Is(err, interrupted) || !strings.Contains(err.Error(), "wait for another lab, which is making its network and has locked /run") {
		t.Errorf("got %v, want what it has waited for", err)
	}
}

func TestNetnsNeeds(t *testing.T) {
	needRoot(t)
	t.Setenv("PATH", t.TempDir())
	_, err := lab.Start(t.Context(), lab.Options{Hosts: 1, Kind: lab.Netns, Dir: t.TempDir()})
	want := "start a netns lab: ip is missing: install the package iproute2 (apt-get install iproute2)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestOrdinaryUser runs the tests of embedded labs as nobody.
func TestOrdinaryUser(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: -short leaves out what takes seconds")
	}
	needRoot(t)
	dir, err := os.MkdirTemp("/tmp", "mhmig-test-") // other folders may be closed to nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "lab.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(program, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.v", "-test.count=1",
		"-test.run=^(TestHosts|TestOpenSSHCommand|TestFiles|TestKeptLab|TestKeptLabKilled|TestKilledOwner|TestNetnsAsOrdinaryUser)$")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"TestHosts/embedded", "TestKilledOwner/embedded", "TestNetnsAsOrdinaryUser"} {
		if !strings.Contains(string(out), "--- PASS: "+name) {
			t.Errorf("%s did not run:\n%s", name, out)
		}
	}
}

func TestNetnsAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("run by TestOrdinaryUser")
	}
	_, err := lab.Start(t.Context(), lab.Options{Hosts: 1, Kind: lab.Netns, Dir: t.TempDir()})
	want := "start a netns lab: only root can make network namespaces: use sudo, or an embedded lab, which needs no root"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestChooseSubnet(t *testing.T) {
	var all strings.Builder
	for x := range 256 {
		fmt.Fprintf(&all, "10.77.%d.0/24 dev mh%d\n", x, x)
	}
	for _, test := range []struct{ name, routes, want string }{
		{"none", "", "10.77.0.0/24"},
		{"others", "default via 192.0.2.1 dev eth0\n192.0.2.0/24 dev eth0 proto kernel src 192.0.2.5\n", "10.77.0.0/24"},
		{"another lab", "10.77.0.0/24 dev mhx proto kernel scope link src 10.77.0.1\nlocal 10.77.0.1 dev mhx table local\n", "10.77.1.0/24"},
		{"a wider network", "10.76.0.0/15 dev vpn\n", "error"},
		{"a part", "10.77.0.0/23 dev vpn\n", "10.77.2.0/24"},
		{"an address", "10.77.0.9 dev tun0 scope link\n", "10.77.1.0/24"},
		{"a broken word", "10.77.0.0/99 dev x\n", "10.77.0.0/24"},
		{"all", all.String(), "error"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := lab.ChooseSubnet(test.routes)
			if text := got.String(); err == nil && text != test.want || err != nil && test.want != "error" {
				t.Errorf("got %s, %v, want %s", got, err, test.want)
			}
		})
	}
}
